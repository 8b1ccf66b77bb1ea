"""Formats: what the client accepts (JSON, YAML, Table, PartialObjectMetadata) and what it sends (JSON, YAML).

The common case, JSON as stored, costs one cached look-up and no copy. Protobuf and CBOR are translated at the door
(filters/content.py), so that nothing here knows of them.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import orjson

from wherry.meta.errors import (
    StatusError,
    bad_request,
    not_acceptable,
    request_entity_too_large,
    unsupported_media_type,
)
from wherry.server.http import Request, Response
from wherry.server.json_faults import summary, syntax_fault

JSON, YAML = "application/json", "application/yaml"
ACCEPTED = (JSON, YAML)
PROTOBUF = "application/vnd.kubernetes.protobuf"
"""Kubernetes' own, for built-in kinds; filters/content.py."""
BODY_BYTES_MAX = 3 * 1024 * 1024
WARNINGS_LENGTH_MAX = 4096
WARNING_LENGTH_CUT = 256
"""Characters of all warnings together, and of each once they are too many; kube-apiserver's own figures."""
PATCH_TYPES = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}


@dataclass(frozen=True, slots=True)
class Accepted:
    """What to answer with. `shape` is "", Table, PartialObjectMetadata or PartialObjectMetadataList."""

    shape: str = ""
    version: str = "v1"
    yaml: bool = False
    anything: bool = False
    """The client takes whatever comes, as people's tools do."""

    @property
    def plain(self) -> bool:
        """Objects as stored."""
        return not self.shape and not self.yaml

    @property
    def content_type(self) -> str:
        """The answer's header."""
        return YAML if self.yaml else JSON


@lru_cache(maxsize=1024)
def negotiate(accept: str, shapes: bool = True) -> Accepted:
    """The best of an Accept header, in its order. Raises 406 when nothing in it can be given."""
    if not accept or accept == JSON:
        return Accepted()
    for kind, parameters in clauses(accept):
        shape = shape_of(parameters)
        if kind in (JSON, YAML, "*/*", "application/*") and shape is not None and (shapes or not shape):
            return Accepted(shape, parameters.get("v", "v1"), kind == YAML, kind == "*/*")
    raise not_acceptable([JSON, YAML, PROTOBUF])


@lru_cache(maxsize=1024)
def clauses(accept: str) -> list[tuple[str, dict[str, str]]]:
    """The media types of an Accept header with their parameters, the most wanted first."""
    found = []
    for clause in accept.split(","):
        kind, *parameters = (part.strip() for part in clause.split(";"))
        found.append((kind, dict(item.partition("=")[::2] for item in parameters)))
    return sorted(found, key=lambda clause: -_weight(clause[1].get("q", "1")))


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0


def shape_of(parameters: dict[str, str]) -> str | None:
    """The shape that a media type's parameters ask for, "" for none, None for one that is not known."""
    shape = parameters.get("as", "")
    if shape and (parameters.get("g") != "meta.k8s.io" or parameters.get("v") not in ("v1", "v1beta1")):
        return None
    return shape if shape in ("", "Table", "PartialObjectMetadata", "PartialObjectMetadataList") else None


def accepted(request: Request) -> Accepted:
    """What to answer a request with. Raises 406."""
    return negotiate(request.headers.get("accept", ""))


def reply(request: Request, body: bytes, status: int = 200, warnings: list[str] | None = None) -> Response:
    """JSON bytes in the format asked for, indented for people (?pretty=1), with warnings."""
    wanted = accepted(request)
    if wanted.yaml:
        body = to_yaml(body)
    elif for_people(request, wanted):
        body = indented(body)
    response = Response(status, body, content_type=wanted.content_type)
    if warnings:
        response.headers["Warning"] = warning_header(warnings)
    return response


def for_people(request: Request, wanted: Accepted) -> bool:
    """?pretty=true, or a tool that shows answers to somebody."""
    if request.query and "pretty" in request.query:
        return request.first("pretty").lower() not in ("0", "false")
    return wanted.anything and request.headers.get("user-agent", "").startswith(("curl", "Wget", "Mozilla/5.0"))


def indented(body: bytes) -> bytes:
    """JSON over many lines."""
    return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def warning_header(warnings: list[str]) -> str:
    """All warnings in one header, as RFC 7234 lets them be joined; shortened, then left out, where they are many."""
    texts = [_printable(text) for text in dict.fromkeys(warnings) if text]
    if sum(map(len, texts)) > WARNINGS_LENGTH_MAX:
        whole, length = texts, 0
        texts = []
        for text in whole:
            if length >= WARNINGS_LENGTH_MAX:
                break
            texts.append(text[:WARNING_LENGTH_CUT])
            length += len(texts[-1])
    return ", ".join('299 - "{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"')) for text in texts)


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def status_response(request: Request, error: StatusError) -> Response:
    """A refusal on the wire."""
    headers = {}
    if error.retry_after_seconds:
        headers["Retry-After"] = str(error.retry_after_seconds)
    body, kind = msgspec.json.encode(error.status()), JSON
    accept = request.headers.get("accept", "")
    if "yaml" in accept and JSON not in accept:
        body, kind = to_yaml(body), YAML
    elif for_people(request, Accepted(anything="*/*" in accept)):
        body = indented(body)
    return Response(error.code, body, headers=headers, content_type=kind)


def to_yaml(body: bytes) -> bytes:
    """JSON to YAML, keys in the order of JSON."""
    import yaml

    text: str = yaml.dump(orjson.loads(body), Dumper=yaml.CSafeDumper, sort_keys=False, default_flow_style=False)
    return text.encode()


def body_format(request: Request) -> str:
    """json or yaml, by Content-Type. Raises 415, and 413 for a body over the limit."""
    if len(request.body) > BODY_BYTES_MAX:
        raise too_large()
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind in ("", JSON, "*/*"):
        return "json"
    if kind == YAML:
        return "yaml"
    raise unsupported_media_type([*ACCEPTED, PROTOBUF])


def too_large() -> StatusError:
    """413 of a body over the limit."""
    return request_entity_too_large(f"limit is {BODY_BYTES_MAX}")


def parse(data: bytes, form: str, kind: str = "") -> Any:
    """A body as plain JSON values. Raises 400."""
    try:
        return parse_yaml(data) if form == "yaml" else orjson.loads(data)
    except ValueError as error:
        why = syntax_fault(data) if form == "json" else ""
        raise unreadable(kind, why or str(error), data) from error


def parse_yaml(data: bytes) -> Any:
    """YAML without Python's extras: timestamps stay text. Raises ValueError."""
    import yaml

    try:
        return yaml.load(data, Loader=_yaml_loader())
    except yaml.YAMLError as error:
        raise ValueError(f"error converting YAML to JSON: {error}".replace("\n", " ")) from error


@lru_cache(maxsize=1)
def _yaml_loader() -> Any:
    import yaml

    class Loader(yaml.CSafeLoader):
        """YAML's JSON part: no dates."""

    Loader.yaml_implicit_resolvers = {
        first: [item for item in resolvers if item[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }
    return Loader


def unreadable(kind: str, why: str, data: bytes | None = None) -> StatusError:
    """400 of a body that cannot be parsed; `data`, when it is at hand, is shown in part."""
    subject = f" (must be of type {kind})" if kind else ""
    shown = f" ({summary(data)})" if data is not None else ""
    return bad_request(
        f"the object provided is unrecognized{subject}: couldn't get version/kind; json parse error: {why}{shown}"
    )
