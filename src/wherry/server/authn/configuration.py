"""AuthenticationConfiguration: whose JWTs are believed, what their claims mean, where nobody may ask.

Of the file that --authentication-config names, or made of the --oidc-* flags. What is wrong with one is told by
`faults`, in kube-apiserver's words and order. Source: k8s.io/apiserver, pkg/apis/apiserver/validation.
"""

import re
import ssl
from collections.abc import Collection
from urllib.parse import urlsplit

import msgspec

from wherry.meta import wire
from wherry.meta.errors import duplicate, invalid_value, required, too_many
from wherry.server.authn.claims import CLAIMS, USER, compiled
from wherry.server.negotiation import parse_yaml
from wherry.server.strategies.checks import Faults, domain_prefixed_path

GROUP = "apiserver.config.k8s.io"
VERSIONS = ("v1", "v1beta1", "v1alpha1")
ISSUERS_MAX = 64
_UNVERIFIED_EMAIL = (
    "claims.email_verified must be used in claimMappings.username.expression or "
    "claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in "
    "claimMappings.username.expression"
)
_BOTH = "claim and expression can't both be set"


class Issuer(msgspec.Struct, forbid_unknown_fields=True):
    """Who signs."""

    url: str = ""
    discoveryURL: str = ""
    certificateAuthority: str = ""
    """PEM; empty: the system's."""
    audiences: list[str] = []
    audienceMatchPolicy: str = ""
    egressSelectorType: str = ""


class ClaimRule(msgspec.Struct, forbid_unknown_fields=True):
    """What claims must be: one of a value, or all by an expression."""

    claim: str = ""
    requiredValue: str = ""
    expression: str = ""
    message: str = ""


class Mapping(msgspec.Struct, forbid_unknown_fields=True):
    """Where a part of the user comes from."""

    claim: str = ""
    prefix: str | None = None
    expression: str = ""


class UidMapping(msgspec.Struct, forbid_unknown_fields=True):
    """Where the uid comes from."""

    claim: str = ""
    expression: str = ""


class ExtraMapping(msgspec.Struct, forbid_unknown_fields=True):
    """Where an extra value comes from."""

    key: str = ""
    valueExpression: str = ""


class ClaimMappings(msgspec.Struct, forbid_unknown_fields=True):
    """Claims to user."""

    username: Mapping = msgspec.field(default_factory=Mapping)
    groups: Mapping = msgspec.field(default_factory=Mapping)
    uid: UidMapping = msgspec.field(default_factory=UidMapping)
    extra: list[ExtraMapping] = []


class UserRule(msgspec.Struct, forbid_unknown_fields=True):
    """What the user must be."""

    expression: str = ""
    message: str = ""


class Jwt(msgspec.Struct, forbid_unknown_fields=True):
    """One issuer, and what is made of its tokens."""

    issuer: Issuer = msgspec.field(default_factory=Issuer)
    claimValidationRules: list[ClaimRule] = []
    claimMappings: ClaimMappings = msgspec.field(default_factory=ClaimMappings)
    userValidationRules: list[UserRule] = []


class AnonymousCondition(msgspec.Struct, forbid_unknown_fields=True):
    """Where nobody may ask."""

    path: str = ""


class Anonymous(msgspec.Struct, forbid_unknown_fields=True):
    """Whether nobody may ask."""

    enabled: bool = False
    conditions: list[AnonymousCondition] = []


class AuthenticationConfiguration(msgspec.Struct, forbid_unknown_fields=True):
    """All of it."""

    apiVersion: str = ""
    kind: str = ""
    jwt: list[Jwt] = []
    anonymous: Anonymous | None = None


def read(data: bytes) -> AuthenticationConfiguration:
    """A file's bytes, YAML or JSON. Raises ValueError; what it says is not checked yet."""
    if not data:
        raise ValueError("empty config data")
    value = parse_yaml(data)
    if not isinstance(value, dict):
        raise ValueError(f"couldn't get version/kind; json parse error: it is no object but {type(value).__name__}")
    version, kind = str(value.get("apiVersion") or ""), str(value.get("kind") or "")
    if kind != "AuthenticationConfiguration" or version not in {f"{GROUP}/{item}" for item in VERSIONS}:
        raise ValueError(f'no kind "{kind}" is registered for version "{version}": it must be an '
                         f"AuthenticationConfiguration of {GROUP}/v1")  # fmt: skip
    try:
        return msgspec.convert(wire.drop_nulls(value), AuthenticationConfiguration)
    except msgspec.ValidationError as error:
        unknown = re.fullmatch(r"Object contains unknown field `(.*?)`(?: - at `\$\.?(.*)`)?", str(error))
        if unknown is None:
            raise ValueError(str(error)) from error
        path = f"{unknown[2]}.{unknown[1]}" if unknown[2] else unknown[1]
        raise ValueError(f'strict decoding error: unknown field "{path}"') from error


def faults(configuration: AuthenticationConfiguration, disallowed: Collection[str]) -> Faults:
    """Everything that is wrong. `disallowed`: issuers of this server's own tokens."""
    if len(configuration.jwt) > ISSUERS_MAX:
        yield too_many("jwt", len(configuration.jwt), ISSUERS_MAX)
        return
    urls: set[str] = set()
    discovered: set[str] = set()
    for index, item in enumerate(configuration.jwt):
        path, issuer = f"jwt[{index}]", item.issuer
        yield from _of_issuer(issuer, disallowed, f"{path}.issuer")
        yield from _of_rules(item.claimValidationRules, f"{path}.claimValidationRules")
        yield from _of_mappings(item, f"{path}.claimMappings")
        yield from _of_user_rules(item.userValidationRules, f"{path}.userValidationRules")
        if issuer.url in urls:
            yield duplicate(f"{path}.issuer.url", issuer.url)
        if issuer.discoveryURL and issuer.discoveryURL in discovered:
            yield duplicate(f"{path}.issuer.discoveryURL", issuer.discoveryURL)
        urls.add(issuer.url)
        discovered.add(issuer.discoveryURL)
    anonymous = configuration.anonymous
    if anonymous is not None and not anonymous.enabled and anonymous.conditions:
        why = "enabled should be set to true when conditions are defined"
        yield invalid_value("anonymous.conditions", anonymous.conditions, why)


def _of_issuer(issuer: Issuer, disallowed: Collection[str], path: str) -> Faults:
    if not issuer.url:
        yield required(f"{path}.url")
    else:
        yield from _of_url(issuer.url, disallowed, f"{path}.url")
    if issuer.discoveryURL:
        here = f"{path}.discoveryURL"
        if issuer.url and issuer.url.rstrip("/") == issuer.discoveryURL.rstrip("/"):
            yield invalid_value(here, issuer.discoveryURL, "discoveryURL must be different from URL")
        yield from _of_url(issuer.discoveryURL, (), here)
    yield from _of_audiences(issuer, path)
    if issuer.certificateAuthority:
        try:
            ssl.create_default_context(cadata=issuer.certificateAuthority)
        except (ssl.SSLError, ValueError):
            why = "data does not contain any valid RSA or ECDSA certificates"
            yield invalid_value(f"{path}.certificateAuthority", "<omitted>", why)
    kind = issuer.egressSelectorType
    if kind in ("controlplane", "cluster"):
        why = f'egress lookup required with egress selector type "{kind}": this server has no egress selectors'
        yield invalid_value(f"{path}.egressSelectorType", kind, why)
    elif kind:
        why = "egress selector must be either controlplane or cluster"
        yield invalid_value(f"{path}.egressSelectorType", kind, why)


def _of_url(url: str, disallowed: Collection[str], path: str) -> Faults:
    if url in disallowed:
        shown = " ".join(sorted(disallowed))
        yield invalid_value(path, url, f"URL must not overlap with disallowed issuers: [{shown}]")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        yield invalid_value(path, url, f'parse "{url}": {error}')
        return
    if parts.scheme != "https":
        yield invalid_value(path, url, "URL scheme must be https")
    if "@" in parts.netloc:
        yield invalid_value(path, url, "URL must not contain a username or password")
    if parts.query:
        yield invalid_value(path, url, "URL must not contain a query")
    if parts.fragment:
        yield invalid_value(path, url, "URL must not contain a fragment")


def _of_audiences(issuer: Issuer, path: str) -> Faults:
    here = f"{path}.audiences"
    if not issuer.audiences:
        yield required(here, f"at least one {here} is required")
        return
    for index, audience in enumerate(issuer.audiences):
        if not audience:
            yield required(f"{here}[{index}]")
        if audience in issuer.audiences[:index]:
            yield duplicate(f"{here}[{index}]", audience)
    policy, several = issuer.audienceMatchPolicy, len(issuer.audiences) > 1
    if policy != "MatchAny" and (several or policy):
        rule = "MatchAny for multiple audiences" if several else "empty or MatchAny for single audience"
        yield invalid_value(f"{path}.audienceMatchPolicy", policy, f"audienceMatchPolicy must be {rule}")


def _of_rules(rules: list[ClaimRule], path: str) -> Faults:
    claims: set[str] = set()
    expressions: set[str] = set()
    for index, rule in enumerate(rules):
        here = f"{path}[{index}]"
        if rule.claim and rule.expression:
            yield invalid_value(here, rule.claim, _BOTH)
        elif rule.claim:
            if rule.message:
                yield invalid_value(f"{here}.message", rule.message, "may not be specified when claim is set")
            if rule.claim in claims:
                yield duplicate(f"{here}.claim", rule.claim)
            claims.add(rule.claim)
        elif rule.expression:
            if rule.requiredValue:
                why = "may not be specified when expression is set"
                yield invalid_value(f"{here}.requiredValue", rule.requiredValue, why)
            if rule.expression in expressions:
                yield duplicate(f"{here}.expression", rule.expression)
            else:
                yield from _of_expression(rule.expression, f"{here}.expression", boolean=True)
            expressions.add(rule.expression)
        else:
            yield required(here, "claim or expression is required")


def _of_user_rules(rules: list[UserRule], path: str) -> Faults:
    seen: set[str] = set()
    for index, rule in enumerate(rules):
        here = f"{path}[{index}].expression"
        if not rule.expression:
            yield required(here)
        elif rule.expression in seen:
            yield duplicate(here, rule.expression)
        else:
            yield from _of_expression(rule.expression, here, variable=USER, boolean=True)
        seen.add(rule.expression)


def _of_expression(text: str, path: str, *, variable: str = CLAIMS, boolean: bool = False) -> Faults:
    fault = compiled(text, variable, boolean).fault
    if fault:
        yield invalid_value(path, text, fault)


def _of_mappings(item: Jwt, path: str) -> Faults:
    mappings = item.claimMappings
    yield from _of_mapping(mappings.username, f"{path}.username", needed=True)
    yield from _of_mapping(mappings.groups, f"{path}.groups", needed=False)
    if mappings.uid.claim and mappings.uid.expression:
        yield invalid_value(f"{path}.uid", "", _BOTH)
    elif mappings.uid.expression:
        yield from _of_expression(mappings.uid.expression, f"{path}.uid.expression")
    seen: set[str] = set()
    for index, extra in enumerate(mappings.extra):
        here = f"{path}.extra[{index}]"
        yield from _of_key(extra.key, f"{here}.key")
        if extra.key in seen:
            yield duplicate(f"{here}.key", extra.key)
        elif not extra.valueExpression:
            yield required(f"{here}.valueExpression")
        else:
            yield from _of_expression(extra.valueExpression, f"{here}.valueExpression")
        seen.add(extra.key)
    name = mappings.username.expression
    values, rules = (
        (one.valueExpression for one in mappings.extra),
        (one.expression for one in item.claimValidationRules),
    )
    if _uses(name, "email") and not any(_uses(text, "email_verified") for text in (name, *values, *rules)):
        yield invalid_value(f"{path}.username.expression", name, _UNVERIFIED_EMAIL)


def _uses(text: str, claim: str) -> bool:
    program = compiled(text, CLAIMS).program if text else None
    return program is not None and (CLAIMS, claim) in program.fields


def _of_mapping(mapping: Mapping, path: str, *, needed: bool) -> Faults:
    if mapping.expression and mapping.claim:
        yield invalid_value(path, "", _BOTH)
    elif mapping.expression:
        if mapping.prefix is not None:
            yield invalid_value(f"{path}.prefix", mapping.prefix, "may not be specified when expression is set")
        yield from _of_expression(mapping.expression, f"{path}.expression")
    elif mapping.claim:
        if mapping.prefix is None:
            why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing"
            yield required(f"{path}.prefix", why)
    elif needed:
        yield required(path, "claim or expression is required")


def _of_key(key: str, path: str) -> Faults:
    yield from domain_prefixed_path(path, key)
    if key != key.lower():
        yield invalid_value(path, key, "must be lowercase")
    domain, slash, _ = key.partition("/")
    if slash and f".{domain}".endswith((".kubernetes.io", ".k8s.io")):
        why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"
        yield invalid_value(path, key, why)
