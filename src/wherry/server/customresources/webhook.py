"""Conversion of custom resources by a webhook: asked in batches, believed in everything but metadata, remembered.

Handlers convert where they stand, without waiting. What has not been converted yet is asked for by raising
`ConversionNeededError`; the dispatcher has the webhook convert it and lets the handler begin again (or go on, where
something has been written). Lists and watches have their objects converted ahead, all at once.

Source of messages: apiextensions-apiserver, pkg/apiserver/conversion.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from wherry.api.apiextensions_v1 import CustomResourceDefinition
from wherry.meta.errors import StatusError, invalid, quote
from wherry.meta.resource import Resource
from wherry.server.admission.webhooks.hooks import VERSIONS, remote_of
from wherry.server.callouts.client import CalloutError, Callouts
from wherry.server.conversions import Conversion, ConversionNeededError
from wherry.server.customresources.version import Version
from wherry.server.objects import Codec, CustomObject
from wherry.server.watchcache import Entry

Json = dict[str, Any]
Key = tuple[str, bytes]
"""The wanted apiVersion, and an object's bytes in the version it has."""
TIMEOUT_SECONDS = 30
REMEMBERED_MAX = 4096
OBJECTS_MAX = 500
"""Objects of one request to the webhook."""
_KEPT = ("labels", "annotations")
"""All of metadata that a webhook may change."""
_SAME = {"name": "name", "namespace": "namespace", "uid": "UID"}


class WebhookConversion:
    """The webhook of one definition as it is now."""

    def __init__(self, definition: CustomResourceDefinition, versions: dict[str, Version], callouts: Callouts) -> None:
        webhook = definition.spec.conversion.webhook if definition.spec.conversion else None
        assert webhook is not None, "validated: the strategy Webhook has one"
        self._callouts = callouts
        self._remote = remote_of(webhook.clientConfig, callouts)
        self._version = next((it for it in webhook.conversionReviewVersions if it in VERSIONS), "v1")
        self._group, self._kind = definition.spec.group, definition.spec.names.kind
        self._versions = versions
        self._converted: dict[Key, bytes] = {}

    def between(self, served: Resource, stored: Resource) -> Conversion:
        """Both directions, for `Served.convert`."""
        codec = Codec(stored)

        def to_stored(obj: CustomObject) -> CustomObject:
            self._check(obj, served)
            return self._take(obj, served, stored)

        async def ahead(entries: Iterable[Entry]) -> None:
            await self.fill([self._key(codec.decode(entry.data), stored, served) for entry in entries if entry.key])

        return Conversion(lambda obj: self._take(obj, stored, served), to_stored, ahead)

    def _check(self, obj: CustomObject, resource: Resource) -> None:
        """What a client sends must fit the version it speaks."""
        version = self._versions[resource.version]
        version.default(obj.content)
        faults = version.validate(obj)
        if faults:
            raise invalid(f"{resource.kind}.{resource.group}", obj.metadata.name or "", faults)

    def _key(self, obj: CustomObject, have: Resource, want: Resource) -> Key:
        return want.api_version, orjson.dumps(Codec(have).to_builtins(obj) | {"apiVersion": have.api_version})

    def _take(self, obj: CustomObject, have: Resource, want: Resource) -> CustomObject:
        key = self._key(obj, have, want)
        found = self._converted.get(key)
        if found is None:
            raise ConversionNeededError(lambda: self.fill([key]))
        made: CustomObject = Codec(want).decode(found)
        return made

    async def fill(self, keys: Sequence[Key]) -> None:
        """Have the webhook convert what is not known yet. Raises StatusError in upstream's words."""
        missing = [key for key in dict.fromkeys(keys) if key not in self._converted]
        for start in range(0, len(missing), OBJECTS_MAX):
            batch = missing[start : start + OBJECTS_MAX]
            before = [orjson.loads(data) for _, data in batch]
            for key, made in zip(batch, await self.convert(before, batch[0][0]), strict=True):
                self._converted[key] = orjson.dumps(made)
        while len(self._converted) > max(REMEMBERED_MAX, len(keys)):
            del self._converted[next(iter(self._converted))]

    async def convert(self, objects: list[Json], wanted: str) -> list[Json]:
        """Objects in the version `wanted` (group/version). Raises StatusError."""
        about = f"conversion webhook for {objects[0].get('apiVersion')}, Kind={self._kind}"
        try:
            answered = await self._ask(objects, wanted)
        except (CalloutError, ValueError) as error:
            raise StatusError(500, "", f"{about} failed: {error}") from error
        if len(answered) != len(objects):
            count = f"returned {len(answered)} objects, expected {len(objects)}"
            raise StatusError(500, "", f"{about} {count}")
        made = []
        for index, (before, after) in enumerate(zip(objects, answered, strict=True)):
            try:
                made.append(self._restored(before, after, wanted))
            except ValueError as error:
                where = f" at index {index}" if len(objects) > 1 else ""
                raise StatusError(500, "", f"{about} returned invalid converted object{where}: {error}") from error
        return made

    async def _ask(self, objects: list[Json], wanted: str) -> list[Any]:
        if isinstance(self._remote, CalloutError):
            raise self._remote
        uid = self._callouts.entropy.uid()
        review = {
            "kind": "ConversionReview",
            "apiVersion": f"apiextensions.k8s.io/{self._version}",
            "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects},
        }
        query = f"timeout={TIMEOUT_SECONDS}s"
        answer = await self._callouts.post(self._remote, review, timeout_seconds=TIMEOUT_SECONDS, query=query)
        response = answer.get("response") if isinstance(answer, dict) else None
        if not isinstance(response, dict):
            raise ValueError("no response provided")
        if self._version == "v1" and response.get("uid") != uid:
            raise ValueError(f"expected response.uid={quote(uid)}, got {quote(str(response.get('uid') or ''))}")
        result = response.get("result") or {}
        if result.get("status") != "Success":
            status = result.get("status") or ""
            raise ValueError(result.get("message") or f"response.result.status was '{status}', not 'Success'")
        return list(response.get("convertedObjects") or ())

    def _restored(self, before: Json, after: Any, wanted: str) -> Json:
        """What may be taken from the answer. Raises ValueError when it is another object."""
        if not isinstance(after, dict):
            raise ValueError("it is no object")
        if after.get("apiVersion") != wanted:
            raise ValueError(f"invalid groupVersion (expected {wanted}, received {after.get('apiVersion') or ''})")
        if after.get("kind") != before["kind"]:
            raise ValueError(f"invalid kind (expected {before['kind']}, received {after.get('kind') or ''})")
        meta, answered = before["metadata"], after.get("metadata")
        if not isinstance(answered, dict):
            raise ValueError("missing metadata in converted object")
        for field, shown in _SAME.items():
            if (answered.get(field) or "") != (meta.get(field) or ""):
                pair = f"{meta.get(field) or ''} != {answered.get(field) or ''}"
                raise ValueError(f"must have the same {shown}: {pair}")
        kept = {key: value for key, value in meta.items() if key not in _KEPT}
        for name in _KEPT:
            texts = answered.get(name) or {}
            if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
                raise ValueError(f"invalid metadata.{name} of converted object")
            if texts:
                kept[name] = texts
        made = after | {"metadata": kept}
        version = self._versions[wanted.rpartition("/")[2]]
        version.prune(made)
        version.default(made)
        return made


async def bring_up(cache: Any, raw: Iterable[tuple[str, bytes]], webhook: WebhookConversion) -> None:
    """Show objects at rest in older versions as the webhook converts them to the stored one. Raises StatusError."""
    codec = cache.codec
    older: dict[str, list[tuple[str, Json]]] = {}
    for key, data in raw:
        if not data.startswith(codec.prefix) and key in cache.entries:
            value = orjson.loads(data)
            older.setdefault(value["apiVersion"], []).append((key, value))
    for found in older.values():
        made = await webhook.convert([value for _, value in found], codec.resource.api_version)
        for (key, _), value in zip(found, made, strict=True):
            entry = cache.entries[key]
            data = codec.splice(codec.encode(codec.from_builtins(value)), entry.revision)
            cache.entries[key] = Entry(key, data, entry.revision, entry.labels, entry.fields)
