"""The flags of `wherry apiserver` that say whose credentials are believed.

What they mean is in cluster/authentication.py.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from wherry.cli.values import names, seconds

FILE = click.Path(path_type=Path)


def authentication_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """All of them, in the order of the help."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = (
    click.option("--client-ca-file", type=FILE, help="CA of client certificates; without it they prove nothing."),
    click.option("--requestheader-client-ca-file", type=FILE, help="CA of proxies whose headers say who asks."),
    click.option("--requestheader-allowed-names", multiple=True, callback=names, help="Of proxies; default: any."),
    click.option("--requestheader-username-headers", multiple=True, callback=names, help="X-Remote-User, commonly."),
    click.option("--requestheader-group-headers", multiple=True, callback=names, help="X-Remote-Group, commonly."),
    click.option("--requestheader-uid-headers", multiple=True, callback=names, help="X-Remote-Uid, commonly."),
    click.option("--requestheader-extra-headers-prefix", multiple=True, callback=names, help="X-Remote-Extra-."),
    click.option("--anonymous-auth", type=bool, help="Requests without credentials.  [default: True]"),
    click.option("--token-auth-file", type=FILE, help="CSV of token, user, uid and groups."),
    click.option(
        "--enable-bootstrap-token-auth",
        type=bool,
        is_flag=False,
        flag_value=True,
        default=False,
        show_default=True,
        help="Secrets of type bootstrap.kubernetes.io/token as credentials.",
    ),
    click.option(
        "--service-account-issuer",
        multiple=True,
        default=("https://kubernetes.default.svc.cluster.local",),
        show_default=True,
        help="Of service accounts' tokens; further ones are believed, too.",
    ),
    click.option("--service-account-jwks-uri", default="", help="Where others find the keys of these tokens; https."),
    click.option(
        "--service-account-max-token-expiration",
        callback=seconds,
        default="0s",
        help="How long these tokens live at most.",
    ),
    click.option(
        "--service-account-extend-token-expiration",
        type=bool,
        default=True,
        show_default=True,
        help="Give pods that may not reload their token one for a year.",
    ),
    click.option(
        "--api-audiences", multiple=True, callback=names, help="What tokens must be for; default: the issuers."
    ),
    click.option(
        "--authentication-token-webhook-config-file", type=FILE, help="Kubeconfig of who is asked about tokens."
    ),
    click.option("--authentication-token-webhook-version", default="v1beta1", show_default=True, help="v1 or v1beta1."),
    click.option(
        "--authentication-token-webhook-cache-ttl",
        callback=seconds,
        default="2m",
        show_default=True,
        help="How long the webhook's answers are believed.",
    ),
    click.option("--authentication-config", type=FILE, help="An AuthenticationConfiguration: issuers, anonymous."),
    click.option("--oidc-issuer-url", help="OpenID Connect issuer of tokens; https."),
    click.option("--oidc-client-id", help="What the issuer's tokens must be for."),
    click.option("--oidc-ca-file", type=FILE, help="CA of the issuer; default: the system's."),
    click.option("--oidc-username-claim", help="Claim that is the user's name.  [default: sub]"),
    click.option("--oidc-username-prefix", help="Before the name; - is none.  [default: <issuer>#, none for email]"),
    click.option("--oidc-groups-claim", help="Claim that holds groups."),
    click.option("--oidc-groups-prefix", help="Before each group."),
    click.option(
        "--oidc-signing-algs", multiple=True, callback=names, help="How tokens may be signed.  [default: RS256]"
    ),
    click.option("--oidc-required-claim", multiple=True, metavar="KEY=VALUE", help="A claim that tokens must have."),
)
