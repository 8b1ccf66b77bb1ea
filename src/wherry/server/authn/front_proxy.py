"""An authenticating proxy in front of the server: its certificate is good, so the headers that it sets are believed.

Source: k8s.io/apiserver, pkg/authentication/request/headerrequest and x509.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from wherry.meta.errors import unauthorized
from wherry.server.authn.x509 import Authority
from wherry.server.http import Request, UserInfo


@dataclass(frozen=True, slots=True)
class FrontProxyOptions:
    """--requestheader-*"""

    ca: Path
    """Who vouches for proxies."""
    names: tuple[str, ...] = ()
    """Common names of proxies; empty: any."""
    username_headers: tuple[str, ...] = ("X-Remote-User",)
    group_headers: tuple[str, ...] = ("X-Remote-Group",)
    uid_headers: tuple[str, ...] = ("X-Remote-Uid",)
    extra_prefixes: tuple[str, ...] = ("X-Remote-Extra-",)


class FrontProxyAuthenticator:
    """Recognises whom a proxy speaks for."""

    def __init__(self, options: FrontProxyOptions, authority: Authority) -> None:
        self._authority = authority
        self._names = options.names
        self._users, self._uids = _lower(options.username_headers), _lower(options.uid_headers)
        self._groups, self._prefixes = _lower(options.group_headers), _lower(options.extra_prefixes)

    def authenticate(self, request: Request) -> UserInfo | None:
        if not request.peer_certificates:
            return None
        proxy = self._authority.certificate(request.peer_certificates)
        if self._names and proxy.name not in self._names:
            raise unauthorized()
        name = _first(request, self._users)
        if not name:
            return None
        groups = [value for header in self._groups for value in request.header_values(header) if value]
        return UserInfo(name, _first(request, self._uids), groups, self._extra(request))

    def _extra(self, request: Request) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for prefix in self._prefixes:
            for header in request.headers:
                if header.startswith(prefix):
                    key = unquote(header[len(prefix) :])
                    found[key] = found.get(key, []) + request.header_values(header)
        return found


def _lower(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in names)


def _first(request: Request, headers: Sequence[str]) -> str:
    return next((value for header in headers if (value := request.headers.get(header))), "")
