"""Service-account tokens for projected volumes: asked for once, renewed at 80 % of their life or after a day."""

from dataclasses import dataclass

from wherry.aio.clock import Clock
from wherry.api.authentication_v1 import BoundObjectReference, TokenRequest, TokenRequestSpec
from wherry.api.core_v1 import Pod, ServiceAccount, ServiceAccountTokenProjection
from wherry.api.registry import resource_for
from wherry.client.client import Client
from wherry.meta.time import parse_time

DEFAULT_LIFE_SECONDS = 3600
RENEW_AFTER = 0.8
RENEW_AFTER_MAX_SECONDS = 24 * 3600.0


@dataclass(slots=True)
class _Token:
    text: str
    renew_at: float


class TokenCache:
    """Tokens by pod and projection."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._tokens: dict[tuple[str, str, int], _Token] = {}

    async def get(self, pod: Pod, projection: ServiceAccountTokenProjection) -> str:
        """A token bound to the pod. Raises StatusError."""
        life = projection.expirationSeconds or DEFAULT_LIFE_SECONDS
        key = (pod.metadata.uid or "", projection.audience or "", life)
        token, now = self._tokens.get(key), self._clock.now().timestamp()
        if token is None or now >= token.renew_at:
            token = self._tokens[key] = await self._request(pod, projection, life)
        return token.text

    def refresh_seconds(self, uid: str) -> float | None:
        """How long until some token of the pod is to be renewed."""
        times = [token.renew_at for key, token in self._tokens.items() if key[0] == uid]
        return max(1.0, min(times) - self._clock.now().timestamp()) if times else None

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        for key in [key for key in self._tokens if key[0] == uid]:
            del self._tokens[key]

    async def _request(self, pod: Pod, projection: ServiceAccountTokenProjection, life: int) -> _Token:
        bound = BoundObjectReference(apiVersion="v1", kind="Pod", name=pod.metadata.name, uid=pod.metadata.uid)
        audiences = [projection.audience] if projection.audience else []
        request = TokenRequest(
            apiVersion="authentication.k8s.io/v1",
            kind="TokenRequest",
            spec=TokenRequestSpec(audiences=audiences, expirationSeconds=life, boundObjectRef=bound),
        )
        answer = await self._client.create(
            request,
            namespace=pod.metadata.namespace,
            name=pod.spec.serviceAccountName or "default",
            subresource="token",
            resource=resource_for(ServiceAccount),
        )
        now = self._clock.now().timestamp()
        expiry = answer.status.expirationTimestamp
        lasts = parse_time(expiry).timestamp() - now if expiry else float(life)
        return _Token(answer.status.token or "", now + min(lasts * RENEW_AFTER, RENEW_AFTER_MAX_SECONDS))
