"""The filter behind which every body is JSON or YAML: Kubernetes' protobuf is translated once, here.

Go clients (kubectl among them) send the built-in kinds in protobuf and accept JSON in return.
"""

from wherry.meta.errors import bad_request
from wherry.server.http import Handler, Request, Response

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"


class ProtobufFilter:
    """Replaces body and content type of requests in protobuf; raises 400 for what cannot be read."""

    async def __call__(self, request: Request, next_handler: Handler) -> Response:
        self.apply(request)
        return await next_handler(request)

    def apply(self, request: Request) -> None:
        """Translate the request's body when it is in protobuf."""
        if not request.body or not request.headers.get("content-type", "").startswith(CONTENT_TYPE):
            return
        from wherry.server.protobuf.decode import to_json  # tables of 40 KB that JSON clients need not load

        try:
            request.body = to_json(request.body)
        except ValueError as error:
            raise bad_request(f"unable to decode the request body: {error}") from error
        headers = {name.lower(): value for name, value in request.headers.items()}
        request.headers = headers | {"content-type": "application/json"}
