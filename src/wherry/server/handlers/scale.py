"""The scale subresource: replicas and selector of a workload, seen as autoscaling/v1 Scale."""

from typing import Any

import orjson

from wherry.api.autoscaling_v1 import Scale, ScaleSpec, ScaleStatus
from wherry.meta import labels, wire
from wherry.meta.errors import bad_request, invalid, invalid_value
from wherry.meta.object import ObjectMeta
from wherry.server.handlers.bodies import write_options
from wherry.server.handlers.patch import patch_kind, patcher
from wherry.server.handlers.writes import Means
from wherry.server.http import Request, Response
from wherry.server.negotiation import body_format, parse, reply
from wherry.server.registry import Served
from wherry.server.watchcache import Entry
from wherry.server.writer import missing


async def get_scale(means: Means, served: Served, request: Request) -> Response:
    """200 with the Scale."""
    entry = served.cache.get(request.info.namespace, request.info.name)
    if entry is None:
        raise missing(served, request.info.name)
    return reply(request, wire.encode(scale_of(served, served.stored_codec.decode(entry.data))))


async def put_scale(means: Means, served: Served, request: Request) -> Response:
    """PUT or PATCH: set replicas."""
    options = write_options(request)
    write = means.write(request, options)
    write.subresource = "scale"
    make = None
    if request.method == "PATCH":
        kind = patch_kind(request, served)
        make = patcher("merge" if kind in ("strategic", "apply") else kind, request.body, served)
    else:
        given = _read(parse(request.body, body_format(request), "Scale"))

    def change(obj: Any, _: Entry) -> Any:
        wanted = given if make is None else _read(make(orjson.loads(wire.encode(scale_of(served, obj)))))
        replicas = wanted.spec.replicas or 0
        if replicas < 0:
            fault = invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
            raise invalid("Scale.autoscaling", write.name, [fault])
        if wanted.metadata.name not in (None, "", write.name):
            name = wanted.metadata.name
            raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({write.name})")
        obj.metadata.resourceVersion = wanted.metadata.resourceVersion
        if wanted.metadata.uid:
            obj.metadata.uid = wanted.metadata.uid
        if served.custom is not None:
            served.custom.set_replicas(obj.content, replicas)
        else:
            obj.spec.replicas = replicas
        return obj

    written = await means.writer.update(served, change, write)
    return reply(request, wire.encode(scale_of(served, served.stored_codec.decode(written.data))))


def _read(value: Any) -> Scale:
    try:
        return wire.convert(value, Scale)
    except (ValueError, TypeError) as error:
        raise bad_request(f'Scale in version "v1" cannot be handled as a Scale: {error}') from error


def scale_of(served: Served, obj: Any) -> Scale:
    """A workload as a Scale."""
    meta = obj.metadata
    if served.custom is not None:
        wanted, current, selector = served.custom.scale(obj.content)
    else:
        wanted, current = obj.spec.replicas, obj.status.replicas or 0
        plain = isinstance(obj.spec.selector, dict)
        selector = str(labels.from_map(obj.spec.selector) if plain else labels.from_label_selector(obj.spec.selector))
    return Scale(
        apiVersion="autoscaling/v1",
        kind="Scale",
        metadata=ObjectMeta(
            name=meta.name,
            namespace=meta.namespace,
            uid=meta.uid,
            resourceVersion=meta.resourceVersion,
            creationTimestamp=meta.creationTimestamp,
        ),
        spec=ScaleSpec(replicas=wanted),
        status=ScaleStatus(replicas=current or 0, selector=selector or None),
    )
