"""What operators and probes ask: /version, /healthz, /livez, /readyz, /metrics, the token keys, and / itself."""

import platform
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from wherry import KUBERNETES_VERSION
from wherry.meta.errors import generic
from wherry.meta.wire import encode
from wherry.server.http import Handler, Request, Response
from wherry.server.metrics import Metrics
from wherry.server.tokens import VerificationKey

Check = Callable[[], Awaitable[bool]]
"""True while the part is well."""
_TEXT = "text/plain; charset=utf-8"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


async def ping() -> bool:
    """The check that only says that somebody answers."""
    return True


def version_info() -> dict[str, str]:
    """The answer at /version."""
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    machine = platform.machine()
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": KUBERNETES_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": sys.implementation.name,
        "platform": f"{sys.platform}/{_MACHINES.get(machine, machine)}",
    }


class Health:
    """One of /healthz, /livez, /readyz with its checks."""

    def __init__(self, name: str, checks: Mapping[str, Check]) -> None:
        self._name = name
        self.checks = {"ping": ping, **checks}

    async def __call__(self, request: Request) -> Response:
        """All checks; `?exclude=` leaves some out, `?verbose` lists them; below the path, one check alone."""
        one = request.path.removeprefix(f"/{self._name}").strip("/")
        if one:
            if one not in self.checks:
                raise generic(404)
            return _text(200, "ok") if await self.checks[one]() else _text(500, f"internal server error: {one}\n")
        excluded = {name for value in request.query.get("exclude", []) for name in value.split(",")}
        lines, well = [], True
        for name, check in self.checks.items():
            if name in excluded:
                lines.append(f"[+]{name} excluded: ok\n")
            elif await check():
                lines.append(f"[+]{name} ok\n")
            else:
                well = False
                lines.append(f"[-]{name} failed: reason withheld\n")
        if not well:
            return _text(500, "".join(lines) + f"{self._name} check failed\n")
        verbose = "verbose" in request.query
        return _text(200, "".join(lines) + f"{self._name} check passed\n" if verbose else "ok")


def _text(status: int, body: str) -> Response:
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache, private"}
    return Response(status, body.encode(), headers=headers, content_type=_TEXT)


@dataclass(frozen=True, slots=True)
class Published:
    """What others need to check this cluster's tokens."""

    issuer: str
    keys_url: str
    keys: Sequence[VerificationKey]


class StatusEndpoints:
    """The handlers that need nothing but facts."""

    def __init__(
        self,
        metrics: Metrics,
        health: Iterable[tuple[str, Mapping[str, Check]]],
        published: Published,
        paths: Callable[[], list[str]],
    ) -> None:
        self._metrics = metrics
        self.health = {name: Health(name, checks) for name, checks in health}
        self._published = published
        self._paths = paths

    async def index(self, request: Request) -> Response:
        """GET /: every path that is not a resource."""
        return Response(200, encode({"paths": sorted(self._paths())}))

    async def version(self, request: Request) -> Response:
        """GET /version."""
        return Response(200, encode(version_info()))

    async def metrics(self, request: Request) -> Response:
        """GET /metrics."""
        return Response(200, self._metrics.expose(), content_type="text/plain; version=0.0.4; charset=utf-8")

    async def openid_configuration(self, request: Request) -> Response:
        """GET /.well-known/openid-configuration: how others can check this cluster's tokens (KEP-1393)."""
        document = {
            "issuer": self._published.issuer,
            "jwks_uri": self._published.keys_url,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({key.algorithm for key in self._published.keys}),
        }
        return Response(200, encode(document), headers={"Cache-Control": "public, max-age=3600"})

    async def jwks(self, request: Request) -> Response:
        """GET /openid/v1/jwks: the public keys."""
        body = encode({"keys": [key.jwk() for key in self._published.keys]})
        headers = {"Cache-Control": "public, max-age=3600"}
        return Response(200, body, headers=headers, content_type="application/jwk-set+json")

    def routes(self) -> list[tuple[str, str, Handler]]:
        """What app.py registers."""
        routes: list[tuple[str, str, Handler]] = [
            ("GET", "/", self.index),
            ("GET", "/version", self.version),
            ("GET", "/metrics", self.metrics),
        ]
        if self._published.issuer.startswith("https://"):  # what OpenID requires of who is to be discovered
            routes += [
                ("GET", "/.well-known/openid-configuration", self.openid_configuration),
                ("GET", "/openid/v1/jwks", self.jwks),
            ]
        for name, health in self.health.items():
            routes += [("GET", f"/{name}", health), ("GET", f"/{name}/{{check:.*}}", health)]
        return routes
