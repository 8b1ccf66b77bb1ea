"""A request passed on to an extension server: the user in headers, the bytes as they are, upgrades as pipes."""

from collections.abc import Iterator
from urllib.parse import quote as url_quote
from urllib.parse import urlsplit

from wherry.meta.errors import StatusError, service_unavailable
from wherry.server.callouts.client import Callouts, Remote, explain, tls_options
from wherry.server.callouts.passing import HOP_BY_HOP, PRIVATE, answer_of
from wherry.server.connection import Connection
from wherry.server.http import Request, Response, UserInfo
from wherry.server.negotiation import status_response


def user_headers(user: UserInfo) -> Iterator[tuple[str, str]]:
    """Who asks, as extension servers are told."""
    yield "X-Remote-User", user.name
    if user.uid:
        yield "X-Remote-Uid", user.uid
    for group in user.groups:
        yield "X-Remote-Group", group
    for key, values in user.extra.items():
        for value in values:
            yield f"X-Remote-Extra-{url_quote(key.lower(), safe='-._~')}", value


def unavailable() -> Response:
    """What is answered for a server that cannot be asked."""
    return Response(503, b"service unavailable\n", content_type="text/plain; charset=utf-8")


async def pass_on(request: Request, remote: Remote, callouts: Callouts, private: tuple[str, ...] = PRIVATE) -> Response:
    """The extension server's answer. `private`: what no client may tell it. Raises 503 when it gives none."""
    import yarl
    from aiohttp import ClientError
    from multidict import CIMultiDict

    try:
        base, host = remote.locate()
    except StatusError:
        return unavailable()
    query = f"?{request.query_string}" if request.query_string else ""
    path = url_quote(request.path, safe="/:@!$&'()*+,;=~") + query
    headers: CIMultiDict[str] = CIMultiDict(_kept(request, private))
    for name, value in user_headers(request.user or UserInfo()):
        headers.add(name, value)
    if "upgrade" in request.headers.get("connection", "").lower() and request.raw is not None:
        return _upgrade(request, remote, path, private)
    headers["Host"] = host
    try:
        reply = await callouts.session.request(
            request.method,
            yarl.URL(f"{base}{path}", encoded=True),
            headers=headers,
            data=request.body or None,
            allow_redirects=False,
            **tls_options(remote),
        )
    except (ClientError, OSError) as error:
        raise _no_answer(error) from error
    return answer_of(reply)


def _kept(request: Request, private: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The client's headers without its credentials and without what only this server may claim."""
    for name, value in request.headers.items():
        if name not in HOP_BY_HOP and not name.startswith(private):
            yield name, value
    if request.remote:
        before = request.headers.get("x-forwarded-for")
        yield "X-Forwarded-For", f"{before}, {request.remote}" if before else request.remote


def _no_answer(error: BaseException) -> StatusError:
    return service_unavailable(f"error trying to reach service: {explain(error)}")


def _upgrade(request: Request, remote: Remote, path: str, private: tuple[str, ...]) -> Response:
    from wherry.server.pipe import handshake, splice

    async def upgrade(connection: Connection) -> Response | None:
        base, host = remote.locate()
        parts = urlsplit(base)
        told = user_headers(request.user or UserInfo())
        head = handshake(request.method, path, host, request.pairs or (), told, private)
        try:
            port = parts.port or 443
            await splice(connection, parts.hostname or "", port, remote.tls, head, remote.server_name)
        except OSError as error:
            return status_response(request, _no_answer(error))
        return None

    return Response(101, upgrade=upgrade)
