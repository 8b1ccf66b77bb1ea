"""The file of --encryption-provider-config: an EncryptionConfiguration, checked and made into transformers.

The first element that names a resource, exactly or by wildcard, decides about it; its first provider writes. Source of
the rules and messages: k8s.io/apiserver, apis/apiserver/validation and server/options/encryptionconfig.
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec

from wherry.aio.clock import Clock
from wherry.aio.entropy import Entropy
from wherry.meta.errors import FieldError, aggregate, invalid_value, required
from wherry.server.encryption import ConfigurationError
from wherry.server.encryption.kms import KmsV2, Plugin
from wherry.server.encryption.transformers import (
    AesCbc,
    AesGcm,
    Identity,
    Prefixed,
    Prefixes,
    SecretBox,
    Transformer,
)
from wherry.server.negotiation import parse_yaml

_AES_SIZES, _BOX_SIZES = (16, 24, 32), (32,)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_KMS_V1 = (
    "KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.  Set "
    "--feature-gates=KMSv1=true to use the deprecated KMSv1 feature."
)
_OVERLAP = (
    "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be "
    "masked"
)


class _Key(msgspec.Struct):
    name: str = ""
    secret: str = ""


class _Keys(msgspec.Struct):
    keys: list[_Key] = []


class _Kms(msgspec.Struct):
    name: str = ""
    endpoint: str = ""
    timeout: str = "3s"
    apiVersion: str = "v1"
    cachesize: int | None = None


class _Provider(msgspec.Struct):
    aesgcm: _Keys | None = None
    aescbc: _Keys | None = None
    secretbox: _Keys | None = None
    kms: _Kms | None = None
    identity: dict[str, Any] | None = None


class _Element(msgspec.Struct):
    resources: list[str] = []
    providers: list[_Provider] = []


class _Configuration(msgspec.Struct):
    apiVersion: str = ""
    kind: str = ""
    resources: list[_Element] = []


@dataclass(slots=True)
class Encryption:
    """Transformers by resource."""

    exact: dict[str, Transformer] = field(default_factory=dict)
    """secrets, deployments.apps; of wildcards *. for the core group, *.apps for a group, *.* for all."""
    providers: list[KmsV2] = field(default_factory=list)

    def transformer(self, group_resource: str) -> Transformer:
        """Who keeps a resource; identity when nothing is said of it."""
        _, _, group = group_resource.partition(".")
        for name in (group_resource, f"*.{group}", "*.*"):
            if name in self.exact:
                return self.exact[name]
        return _IDENTITY

    async def start(self) -> None:
        """Meet the plugins."""
        for provider in self.providers:
            await provider.start()

    async def close(self) -> None:
        """Leave them."""
        for provider in self.providers:
            await provider.close()


_IDENTITY = Identity()


def read(data: bytes, clock: Clock, entropy: Entropy) -> Encryption:
    """The file's bytes, YAML or JSON, as transformers. Raises ConfigurationError."""
    try:
        value = parse_yaml(data)
        configuration = msgspec.convert(value, _Configuration)
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"error while parsing file: {error}") from error
    named = (configuration.apiVersion, configuration.kind)
    if named != ("apiserver.config.k8s.io/v1", "EncryptionConfiguration"):
        raise ConfigurationError(
            f"error while parsing file: it must be an apiserver.config.k8s.io/v1, Kind=EncryptionConfiguration, not "
            f"{named[0]}, Kind={named[1]}"
        )
    if errors := list(_faults(configuration)):
        raise ConfigurationError(f"error while parsing file: {aggregate(errors)}")
    return _build(configuration, clock, entropy)


# From configuration to transformers


def _build(configuration: _Configuration, clock: Clock, entropy: Entropy) -> Encryption:
    made = Encryption()
    for element in configuration.resources:
        transformer = Prefixes(
            "no matching prefix found", [_provider(item, clock, entropy, made) for item in element.providers]
        )
        for name in element.resources:
            _, found, group = name.partition(".")
            for mask in (f"*.{group}", "*.*") if name != "*.*" else ():
                if mask in made.exact and mask != name:
                    raise ConfigurationError(
                        f'error while building transformers: resource "{name}" is masked by earlier rule "{mask}"'
                    )
            made.exact.setdefault(name if found or name != "*" else "*.", transformer)
    return made


def _provider(provider: _Provider, clock: Clock, entropy: Entropy, made: Encryption) -> Prefixed:
    ciphers: tuple[tuple[str, _Keys | None, Callable[[bytes, Entropy], Transformer], str], ...] = (
        ("aescbc", provider.aescbc, AesCbc, "AES"),
        ("aesgcm", provider.aesgcm, AesGcm, "AES"),
        ("secretbox", provider.secretbox, SecretBox, "Secretbox"),
    )
    for name, keys, cipher, title in ciphers:
        if keys is not None:
            found = [
                Prefixed(f"{key.name}:".encode(), cipher(base64.b64decode(key.secret), entropy)) for key in keys.keys
            ]
            unmatched = f"no matching key was found for the provided {title} transformer"
            return Prefixed(f"k8s:enc:{name}:v1:".encode(), Prefixes(unmatched, found))
    kms = provider.kms
    if kms is None:
        return Prefixed(b"", _IDENTITY)
    if kms.apiVersion == "v1":
        raise ConfigurationError(f"error while building transformers: {_KMS_V1}")
    plugin = KmsV2(kms.name, Plugin(kms.endpoint, _seconds(kms.timeout)), clock, entropy)
    made.providers.append(plugin)
    return Prefixed(f"k8s:enc:kms:v2:{kms.name}:".encode(), plugin)


def _seconds(text: str) -> float:
    """A Go duration of one unit. Raises ValueError."""
    unit = text.lstrip("0123456789.-")
    return float(text.removesuffix(unit)) * _UNITS[unit] if unit in _UNITS else float(f"not {text}")


# What may be wrong


def _faults(configuration: _Configuration) -> list[FieldError]:
    if not configuration.resources:
        return [required("resources", "at least one resources is required")]
    errors: list[FieldError] = []
    names: set[str] = set()
    for index, element in enumerate(configuration.resources):
        where, providers = f"resources[{index}].resources", f"resources[{index}].providers"
        errors += _of_resources(element.resources, where)
        if not element.providers:
            errors.append(required(providers, f"at least one {providers} is required"))
        for position, provider in enumerate(element.providers):
            errors += _of_provider(provider, f"{providers}[{position}]", names)
    return errors


def _of_resources(names: list[str], where: str) -> list[FieldError]:
    errors = [] if names else [required(where, f"at least one {where} is required")]
    if len(set(names)) < len(names):
        errors.append(invalid_value(where, names, "the same resource cannot be specified multiple times"))
    groups = [name.partition(".")[2] for name in names]
    masked = any(name.startswith("*") and groups.count(group) > 1 for name, group in zip(names, groups, strict=True))
    if len(names) > 1 and ("*.*" in names or masked) and len(set(names)) > 1:
        errors.append(invalid_value(where, names, _OVERLAP))
    return errors + [
        invalid_value(f"{where}[{index}]", name, why) for index, name in enumerate(names) if (why := _of_name(name))
    ]


def _of_name(name: str) -> str:
    resource, _, group = name.partition(".")
    if name.lower() != name:
        return "resource name should not contain capital letters"
    if name == "*":
        return "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
    if name in ("apiserveripinfo", "serviceipallocations", "servicenodeportallocations"):
        return "resources which do not have REST API/s cannot be encrypted"
    if group == "events.k8s.io":
        return (
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the "
            "config file"
        )
    if group == "extensions":
        return "'extensions' group has been removed and cannot be used for encryption"
    if group == "*" and resource != "*":
        return "encrypting the same resource across groups is not supported"
    return ""


def _of_provider(provider: _Provider, where: str, names: set[str]) -> list[FieldError]:
    given = [name for name in provider.__struct_fields__ if getattr(provider, name) is not None]
    shown = msgspec.to_builtins(given)
    if not given:
        text = "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"
        return [invalid_value(where, shown, text)]
    if len(given) > 1:
        text = "more than one provider specified in a single element, should split into different list elements"
        return [invalid_value(where, shown, text)]
    here = f"{where}.{given[0]}"
    if provider.kms is not None:
        return _of_kms(provider.kms, here, names)
    keys: _Keys | None = provider.aesgcm or provider.aescbc or provider.secretbox
    if keys is None:
        return []
    if not keys.keys:
        return [required(f"{here}.keys", "at least one keys is required")]
    sizes = _BOX_SIZES if provider.secretbox else _AES_SIZES
    return [error for index, key in enumerate(keys.keys) for error in _of_key(key, f"{here}.keys[{index}]", sizes)]


def _of_key(key: _Key, where: str, sizes: tuple[int, ...]) -> list[FieldError]:
    errors = [] if key.name else [required(f"{where}.name", "name is a mandatory field for a key")]
    if not key.secret:
        return [*errors, required(f"{where}.secret", "secret is a mandatory field for a key")]
    try:
        length = len(base64.b64decode(key.secret, validate=True))
    except binascii.Error:
        return [*errors, invalid_value(f"{where}.secret", "REDACTED", "secrets must be base64 encoded")]
    if length not in sizes:
        wanted = " ".join(map(str, sizes))
        text = f"secret is not of the expected length, got {length}, expected one of [{wanted}]"
        errors.append(invalid_value(f"{where}.secret", "REDACTED", text))
    return errors


def _of_kms(kms: _Kms, where: str, names: set[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    if not kms.name:
        errors.append(required(f"{where}.name", "name is a mandatory field for a provider"))
    if kms.apiVersion != "v1":
        if ":" in kms.name:
            text = f"invalid KMS provider name {kms.name}, must not contain ':'"
            errors.append(invalid_value(f"{where}.name", kms.name, text))
        if kms.name in names:
            text = f"duplicate KMS provider name {kms.name}, names must be unique"
            errors.append(invalid_value(f"{where}.name", kms.name, text))
    names.add(kms.name)
    try:
        positive = _seconds(kms.timeout) > 0
    except ValueError:
        positive = False
    if not positive:
        errors.append(invalid_value(f"{where}.timeout", kms.timeout, "timeout should be a positive value"))
    scheme = urlsplit(kms.endpoint).scheme
    if not kms.endpoint:
        errors.append(invalid_value(f"{where}.endpoint", "", "endpoint is a mandatory field for a kms"))
    elif scheme != "unix":
        text = f'unsupported scheme "{scheme}" for KMS provider, only unix is supported'
        errors.append(invalid_value(f"{where}.endpoint", kms.endpoint, text))
    if kms.apiVersion != "v1" and kms.cachesize is not None:
        errors.append(invalid_value(f"{where}.cachesize", kms.cachesize, "cachesize is not supported in v2"))
    if kms.apiVersion not in ("v1", "v2"):
        text = "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported"
        errors.append(invalid_value(f"{where}.apiVersion", kms.apiVersion, text))
    return errors
