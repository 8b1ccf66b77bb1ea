"""From the claims of a token to the user it stands for, by claim names or CEL expressions, and what both must be.

Source: k8s.io/apiserver, pkg/authentication/cel and plugin/pkg/authenticator/token/oidc.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from wherry.server.authn.identity import CREDENTIAL_ID, TokenError
from wherry.server.cel.environment import Environment, Program
from wherry.server.cel.schemas import escape
from wherry.server.cel.syntax import CompileError
from wherry.server.cel.types import BOOL, DYN, STRING, Field, Type, list_of, map_of, same
from wherry.server.cel.values import CelError, CostExceeded
from wherry.server.http import UserInfo

if TYPE_CHECKING:
    from wherry.server.authn.configuration import Jwt, Mapping

CLAIMS, USER = "claims", "user"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Compiled:
    """An expression, or why there is none."""

    program: Program | None
    fault: str = ""


@cache
def _environment(variable: str) -> Environment:
    if variable == CLAIMS:
        return Environment({CLAIMS: map_of(STRING, DYN)})
    kinds = {"username": STRING, "uid": STRING, "groups": list_of(STRING), "extra": map_of(STRING, list_of(STRING))}
    fields = {name: Field(name, kind) for name, kind in kinds.items()}
    return Environment({USER: Type("object", name="kubernetes.UserInfo", fields=fields)})


@lru_cache(maxsize=1024)
def compiled(text: str, variable: str, boolean: bool = False) -> Compiled:
    """An expression over `claims` or `user`; never raises."""
    try:
        program = _environment(variable).compile(text)
    except CompileError as error:
        return Compiled(None, f"compilation failed: {error}")
    if boolean and not same(program.result, BOOL):
        return Compiled(None, "must evaluate to bool")
    return Compiled(program)


class ClaimMapper:
    """What one issuer's claims mean."""

    def __init__(self, jwt: "Jwt") -> None:
        self._jwt = jwt
        self._mappings = jwt.claimMappings

    def user(self, claims: Json) -> UserInfo:
        """The user. Raises TokenError for claims that are missing, or not as the rules want them."""
        mappings = self._mappings
        values = Evaluated(CLAIMS, claims)
        user = UserInfo(self._username(claims, values))
        user.groups = self._groups(mappings.groups, claims, values)
        if mappings.uid.claim:
            user.uid = _text(claims, mappings.uid.claim, f'parse uid claim "{mappings.uid.claim}"')
        elif mappings.uid.expression:
            user.uid = values.text(mappings.uid.expression, "uid")
        token_id = claims.get("jti")
        if isinstance(token_id, str) and token_id:
            user.extra[CREDENTIAL_ID] = [f"JTI={token_id}"]
        for extra in mappings.extra:
            found = values.texts(extra.valueExpression, "extra")
            if found:
                user.extra[extra.key] = found
        self._check(claims, values, user)
        return user

    def _username(self, claims: Json, values: "Evaluated") -> str:
        mapping = self._mappings.username
        if mapping.expression:
            name = values.text(mapping.expression, "username")
            if not name:
                raise TokenError("oidc: empty username via CEL expression is not allowed")
            return name
        name = _text(claims, mapping.claim, f'parse username claims "{mapping.claim}"')
        if mapping.claim == "email" and "email_verified" in claims:
            verified = claims["email_verified"]
            if not isinstance(verified, bool):
                raise TokenError(f"oidc: parse 'email_verified' claim: {_not('bool', verified)}")
            if not verified:
                raise TokenError("oidc: email not verified")
        return (mapping.prefix or "") + name

    def _groups(self, mapping: "Mapping", claims: Json, values: "Evaluated") -> list[str]:
        if mapping.claim in claims:
            found = claims[mapping.claim]
            groups = [found] if isinstance(found, str) else found or []
            if not isinstance(groups, list) or not all(isinstance(item, str) for item in groups):
                raise TokenError(f'oidc: parse groups claim "{mapping.claim}": {_not("[]string", found)}')
            return [(mapping.prefix or "") + group for group in groups]
        return values.texts(mapping.expression, "group") if mapping.expression else []

    def _check(self, claims: Json, values: "Evaluated", user: UserInfo) -> None:
        rules = self._jwt.claimValidationRules
        for rule in rules:
            if rule.claim:
                if rule.claim not in claims:
                    raise TokenError(f"oidc: required claim {rule.claim} not present in ID token")
                value = _text(claims, rule.claim, f"parse claim {rule.claim}")
                if value != rule.requiredValue:
                    raise TokenError(
                        f"oidc: required claim {rule.claim} value does not match. Got = {value}, "
                        f"want = {rule.requiredValue}"
                    )
        for rule in rules:
            if rule.expression:
                values.require(rule.expression, rule.message, "claim validation expression")
        if self._jwt.userValidationRules:
            facts = {"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra}
            about = Evaluated(USER, facts)
            for condition in self._jwt.userValidationRules:
                about.require(condition.expression, condition.message, "user info validation rule")


class Evaluated:
    """Values of expressions over one variable."""

    def __init__(self, variable: str, value: Json) -> None:
        self._variable = variable
        self._value = value
        self._escaped: Json | None = None

    def of(self, text: str, what: str, *, boolean: bool = False) -> Any:
        """Raises TokenError."""
        program = compiled(text, self._variable, boolean).program
        assert program is not None  # the configuration has been checked
        value = self._value
        if "__" in text:  # names with dots and the like are spelled so: claims.foo__dot__io
            value = self._escaped = self._escaped or _escaped(value)
        try:
            return program.evaluate({self._variable: value})[0]
        except (CelError, CostExceeded) as error:
            raise _failed(what, f"expression '{text}' resulted in error: {error}") from error

    def text(self, text: str, what: str) -> str:
        """A string."""
        found = self.of(text, f"{what} claim expression")
        if not isinstance(found, str):
            raise _failed(f"{what} claim expression", f"{what} claim expression must return a string")
        return found

    def texts(self, text: str, what: str) -> list[str]:
        """A string or a list of them; empty ones count as none."""
        found = self.of(text, f"{what} claim expression")
        several = [] if found is None else [found] if isinstance(found, str) else found
        if not isinstance(several, list) or not all(isinstance(item, str) for item in several):
            named = f"{text}: " if what == "extra" else ""
            raise _failed(f"{what} claim expression", f"{named}expression must return a string or a list of strings")
        return [item for item in several if item]

    def require(self, text: str, message: str, what: str) -> None:
        """Raises TokenError unless it is true."""
        if self.of(text, what, boolean=True) is not True:
            raise _failed(what, f"validation expression '{text}' failed: {message}")


def _failed(what: str, why: str) -> TokenError:
    return TokenError(f"oidc: error evaluating {what}: {why}")


def _text(claims: Json, name: str, what: str) -> str:
    if name not in claims:
        raise TokenError(f"oidc: {what}: claim not present")
    found = claims[name]
    if found is None:
        return ""
    if not isinstance(found, str):
        raise TokenError(f"oidc: {what}: {_not('string', found)}")
    return found


_GO_NAMES = {bool: "bool", float: "number", list: "array", dict: "object", str: "string"}


def _not(wanted: str, value: Any) -> str:
    return f"json: cannot unmarshal {_GO_NAMES.get(type(value), 'value')} into Go value of type {wanted}"


def _escaped(value: Any) -> Any:
    """With a second name for each member that expressions must spell differently."""
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if not isinstance(value, dict):
        return value
    whole = {name: _escaped(item) for name, item in value.items()}
    return {escape(name) or name: item for name, item in whole.items()} | whole
