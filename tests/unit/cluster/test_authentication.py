"""The API server's flags about authentication: what they make, and which of them contradict each other."""

from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from wherry.cli.authentication import authentication_options
from wherry.cluster.authentication import AuthenticationFlags
from wherry.cluster.failure import ClusterError
from wherry.server.authn.options import AuthenticationOptions

NO_UID = (
    "--requestheader-uid-headers is set without specifying the standard X-Remote-Uid header - "
    "API aggregation will not work"
)
OIDC = ("--oidc-issuer-url=https://a", "--oidc-client-id=x")


def options(*flags: str) -> AuthenticationOptions:
    made: list[AuthenticationOptions] = []

    @click.command()
    @authentication_options
    def command(**given: Any) -> None:
        taken = AuthenticationFlags.take(given)
        taken.issuers(), taken.seconds_max()
        made.append(taken.options())
        assert not given

    result = CliRunner().invoke(command, ["--service-account-issuer=https://own", *flags])
    if isinstance(result.exception, ClusterError):
        raise result.exception
    assert not result.exception, result.output
    return made[0]


def config(folder: Path, **more: Any) -> str:
    whole = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", **more}
    (folder / "authentication").write_text(yaml.safe_dump(whole))
    return f"--authentication-config={folder / 'authentication'}"


def test_without_flags_nobody_may_ask_and_nothing_else_is_believed() -> None:
    assert options() == AuthenticationOptions(bootstrap_tokens=False)
    assert options("--enable-bootstrap-token-auth").bootstrap_tokens
    assert not options("--anonymous-auth=false").anonymous


@pytest.mark.parametrize(
    ("flags", "claim", "prefix"),
    [
        ((), "sub", "https://a#"),
        (("--oidc-username-prefix=-",), "sub", ""),
        (("--oidc-username-prefix=p:", "--oidc-username-claim=email"), "email", "p:"),
        (("--oidc-username-claim=email",), "email", ""),
    ],
)
def test_names_are_prefixed_by_their_issuer_unless_told_otherwise(
    flags: tuple[str, ...], claim: str, prefix: str
) -> None:
    made = options(*OIDC, *flags)
    assert made.configuration is not None
    username = made.configuration.jwt[0].claimMappings.username
    assert (username.claim, username.prefix) == (claim, prefix)


def test_flags_make_a_configuration() -> None:
    more = ("--oidc-groups-claim=g", "--oidc-groups-prefix=o:", "--oidc-signing-algs=RS256,ES256")
    made = options(*OIDC, *more, "--oidc-required-claim=hd=example.org", "--oidc-required-claim=a=b=c")
    assert made.algorithms == ("RS256", "ES256") and made.configuration is not None
    jwt = made.configuration.jwt[0]
    assert (jwt.issuer.url, jwt.issuer.audiences) == ("https://a", ["x"])
    assert (jwt.claimMappings.groups.claim, jwt.claimMappings.groups.prefix) == ("g", "o:")
    rules = [(rule.claim, rule.requiredValue) for rule in jwt.claimValidationRules]
    assert rules == [("hd", "example.org"), ("a", "b=c")]


def test_the_file_says_where_nobody_may_ask(tmp_path: Path) -> None:
    made = options(config(tmp_path, anonymous={"enabled": True, "conditions": [{"path": "/livez"}]}))
    assert (made.anonymous, made.anonymous_paths) == (True, ("/livez",))
    assert not options(config(tmp_path, anonymous={"enabled": False})).anonymous
    assert made.configuration_file == tmp_path / "authentication"


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (
            ("--oidc-groups-claim=g",),
            "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set",
        ),
        (
            ("--service-account-max-token-expiration=30m",),
            "the service-account-max-token-expiration must be between 1 hour and 2^32 seconds",
        ),
        (("--service-account-issuer=https://own",), 'service-account-issuer "https://own" is already specified'),
        (
            ("--service-account-jwks-uri=http://a",),
            "service-account-jwks-uri requires https scheme, parsed as: http://a",
        ),
        (("--requestheader-uid-headers=X",), NO_UID),
        (("--requestheader-group-headers= ",), 'empty value in "requestheader-group-headers"'),
        ((*OIDC, "--oidc-signing-algs=HS256"), '--oidc-signing-algs: unsupported signing alg: "HS256"'),
        ((*OIDC, "--oidc-required-claim=x"), "--oidc-required-claim x: not a claim such as hd=example.org"),
        (
            ("--oidc-issuer-url=http://a", "--oidc-client-id=x"),
            'invalid authentication configuration: jwt[0].issuer.url: Invalid value: "http://a": '
            "URL scheme must be https",
        ),
        (
            ("--oidc-issuer-url=https://own", "--oidc-client-id=x"),
            'invalid authentication configuration: jwt[0].issuer.url: Invalid value: "https://own": '
            "URL must not overlap with disallowed issuers: [https://own]",
        ),
        (("--authentication-config=/nowhere",), "/nowhere: No such file or directory"),
        (("--token-auth-file=/nowhere",), "/nowhere: No such file or directory"),
        (
            ("--authentication-token-webhook-config-file=/nowhere",),
            "--authentication-token-webhook-config-file: /nowhere: No such file or directory",
        ),
    ],
)
def test_what_cannot_be_is_refused(flags: tuple[str, ...], why: str) -> None:
    with pytest.raises(ClusterError) as caught:
        options(*flags)
    assert str(caught.value) == why


def test_file_and_flags_must_not_say_the_same_twice(tmp_path: Path) -> None:
    path = config(tmp_path, anonymous={"enabled": True})
    with pytest.raises(ClusterError, match=r"authentication-config file and oidc-\* flags are mutually exclusive"):
        options(path, *OIDC)
    with pytest.raises(ClusterError, match="--anonymous-auth flag cannot be set when anonymous field is configured"):
        options(path, "--anonymous-auth=true")


def test_clients_of_the_same_authority_as_proxies_must_not_pass_for_them(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n")
    both = (f"--client-ca-file={tmp_path / 'ca'}", f"--requestheader-client-ca-file={tmp_path / 'ca'}")
    with pytest.raises(ClusterError, match="contain overlapping certificates"):
        options(*both)
    made = options(*both, "--requestheader-allowed-names=a,b", "--requestheader-username-headers=X-User").front_proxy
    assert made is not None and (made.names, made.username_headers) == (("a", "b"), ("X-User",))
