"""ConfigMaps and Secrets: keys, a size limit, immutability, the types of Secrets."""

import base64
import binascii
import json
import re
from typing import Any

from wherry.api.core_v1 import ConfigMap, Secret
from wherry.meta import names
from wherry.meta.errors import bad_request, field_forbidden, invalid_value, required, too_long
from wherry.server.strategies import checks
from wherry.server.strategies.checks import Faults
from wherry.server.strategies.kind import KindStrategy
from wherry.server.strategies.pod_defaults import unset
from wherry.server.strategies.strategy import RequestContext

DATA_BYTES_MAX = 1024 * 1024
_FROZEN = "field is immutable when `immutable` is set"


def _immutable(new: Any, old: Any, members: tuple[str, ...]) -> Faults:
    if not old.immutable:
        return
    if not new.immutable:
        yield field_forbidden("immutable", _FROZEN)
    for name in members:
        yield from checks.unchanged(name, getattr(new, name), getattr(old, name), _FROZEN)


def base64_bytes(text: str) -> int:
    """How many bytes a base64 text stands for."""
    return len(text) * 3 // 4 - text[-2:].count("=")


class ConfigMapStrategy(KindStrategy):
    """v1 ConfigMap."""

    def default(self, obj: ConfigMap) -> None:
        _decodable("ConfigMap", obj.binaryData)

    def rules(self, obj: ConfigMap) -> Faults:
        size = 0
        for key, value in obj.data.items():
            yield from checks.named(f"data[{key}]", key, names.config_key)
            if key in obj.binaryData:
                yield invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData")
            size += len(value.encode())
        for key, value in obj.binaryData.items():
            yield from checks.named(f"binaryData[{key}]", key, names.config_key)
            size += base64_bytes(value)
        if size > DATA_BYTES_MAX:
            yield too_long("", DATA_BYTES_MAX)

    def update_rules(self, new: ConfigMap, old: ConfigMap) -> Faults:
        yield from _immutable(new, old, ("data", "binaryData"))


_NO_BASE64 = re.compile(r"[^A-Za-z0-9+/\r\n]")


def _decodable(kind: str, data: dict[str, str]) -> None:
    """Raise 400 for values that are not base64: kube-apiserver finds that while it decodes the body."""
    for value in data.values():
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            found = _NO_BASE64.search(value)
            at = found.start() if found else len(value)
            why = f"illegal base64 data at input byte {at}"
            raise bad_request(f'{kind} in version "v1" cannot be handled as a {kind}: {why}') from error


_REQUIRED_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_ACCOUNT_TOKEN = "kubernetes.io/service-account-token"
_ACCOUNT_NAME = "kubernetes.io/service-account.name"


class SecretStrategy(KindStrategy):
    """v1 Secret. stringData is folded into data and never stored."""

    def default(self, obj: Secret) -> None:
        unset(obj, type="Opaque")
        _decodable("Secret", obj.data)
        if obj.stringData:
            encoded = {key: base64.b64encode(value.encode()).decode() for key, value in obj.stringData.items()}
            obj.data = {**obj.data, **encoded}
            obj.stringData = {}

    def prepare_for_update(self, new: Secret, old: Secret, ctx: RequestContext) -> None:
        super().prepare_for_update(new, old, ctx)
        unset(new, type=old.type)

    def rules(self, obj: Secret) -> Faults:
        size = 0
        for key, value in obj.data.items():
            yield from checks.named(f"data[{key}]", key, names.config_key)
            size += base64_bytes(value)
        if size > DATA_BYTES_MAX:
            yield too_long("data", DATA_BYTES_MAX)
        for key in _REQUIRED_KEYS.get(obj.type or "", ()):
            if key not in obj.data:
                yield required(f"data[{key}]")
            elif key.startswith(".docker") and not _is_json(obj.data[key]):
                yield invalid_value(f"data[{key}]", "<secret contents redacted>", "invalid character in JSON")
        if obj.type == _ACCOUNT_TOKEN and not obj.metadata.annotations.get(_ACCOUNT_NAME):
            yield required(f"metadata.annotations[{_ACCOUNT_NAME}]")
        if obj.type == "kubernetes.io/basic-auth" and not ({"username", "password"} & obj.data.keys()):
            yield required("data[username]")
            yield required("data[password]")

    def update_rules(self, new: Secret, old: Secret) -> Faults:
        yield from checks.immutable("type", new.type, old.type)
        yield from _immutable(new, old, ("data",))

    def fields(self, obj: Secret) -> dict[str, str]:
        return {"type": obj.type or ""}


def _is_json(text: str) -> bool:
    try:
        json.loads(base64.b64decode(text))
    except ValueError:
        return False
    return True
