"""The `format`s that Kubernetes checks in custom resources; others are ignored.

Source: apiextensions-apiserver, validation/formats.go, and kube-openapi, validation/strfmt.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import date
from urllib.parse import urlsplit

from wherry.meta.quantity import Quantity
from wherry.meta.time import parse_time

Check = Callable[[str], bool]


def string_format(name: str) -> Check | None:
    """Whether a string has the format; None for formats that are not checked."""
    return _FORMATS.get(name.replace("-", ""))


def number_range(name: str) -> tuple[int, int] | None:
    """The bounds of int32 and int64."""
    return _RANGES.get(name)


def _parses(parse: Callable[[str], object]) -> Check:
    def check(value: str) -> bool:
        try:
            parse(value)
        except (ValueError, binascii.Error):
            return False
        return True

    return check


def _matches(pattern: str) -> Check:
    compiled = re.compile(pattern)
    return lambda value: compiled.fullmatch(value) is not None


def _uri(value: str) -> bool:
    parts = urlsplit(value)
    return bool(parts.scheme) or value.startswith("/")


def _network(value: str) -> object:
    if "/" not in value:
        raise ValueError(value)
    return ipaddress.ip_network(value, strict=False)


def _isbn(digits: int) -> Check:
    def check(value: str) -> bool:
        plain = value.replace("-", "").replace(" ", "")
        if len(plain) != digits or not plain[:-1].isdigit():
            return False
        if digits == 13:
            return plain.isdigit() and sum(int(c) * (3 if i % 2 else 1) for i, c in enumerate(plain)) % 10 == 0
        last = 10 if plain[-1] in "Xx" else int(plain[-1]) if plain[-1].isdigit() else -1
        return last >= 0 and (sum((10 - i) * int(c) for i, c in enumerate(plain[:-1])) + last) % 11 == 0

    return check


_HEX = "[0-9a-fA-F]"
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_RGB = rf"rgb\(\s*{_BYTE}\s*,\s*{_BYTE}\s*,\s*{_BYTE}\s*\)"
_GO_DURATION = r"[-+]?(0|([0-9]*\.?[0-9]+(ns|us|µs|μs|ms|s|m|h))+)"
_LONG_DURATION = (
    r"([0-9]+)\s*(n(ano(second)?s?|s)?|u(s)?|µs|micro(second)?s?|ms|milli(second)?s?|s(ec(ond)?s?)?|m(in(ute)?s?)?"
    r"|h((ou)?rs?)?|d(ays?)?|w(eeks?)?|hours?)"
)
_short_name = _matches(_LABEL)
_long_name = _matches(rf"{_LABEL}(\.{_LABEL})*")

_FORMATS: dict[str, Check] = {
    "bsonobjectid": _matches(f"{_HEX}{{24}}"),
    "uri": _uri,
    "email": _matches(r"[^@\s]+@[^@\s]+|.*<[^@\s]+@[^@\s]+>"),
    "hostname": _matches(
        r"(?=.{1,255}$)([a-zA-Z0-9]([-a-zA-Z0-9_]{0,61}[a-zA-Z0-9])?)(\.[a-zA-Z0-9]([-a-zA-Z0-9_]{0,61}[a-zA-Z0-9])?)*\.?"
    ),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "cidr": _parses(_network),
    "mac": _matches(f"{_HEX}{{2}}([:-]{_HEX}{{2}}){{5,19}}|{_HEX}{{4}}([.]{_HEX}{{4}}){{2,9}}"),
    "uuid": _matches(f"{_HEX}{{8}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{12}}"),
    "uuid3": _matches(f"{_HEX}{{8}}-?{_HEX}{{4}}-?3{_HEX}{{3}}-?{_HEX}{{4}}-?{_HEX}{{12}}"),
    "uuid4": _matches(f"{_HEX}{{8}}-?{_HEX}{{4}}-?4{_HEX}{{3}}-?[89abAB]{_HEX}{{3}}-?{_HEX}{{12}}"),
    "uuid5": _matches(f"{_HEX}{{8}}-?{_HEX}{{4}}-?5{_HEX}{{3}}-?[89abAB]{_HEX}{{3}}-?{_HEX}{{12}}"),
    "isbn": lambda value: _isbn(10)(value) or _isbn(13)(value),
    "isbn10": _isbn(10),
    "isbn13": _isbn(13),
    "creditcard": lambda value: 13 <= len(re.sub(r"\D", "", value)) <= 16,
    "ssn": _matches(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "hexcolor": _matches(f"#?({_HEX}{{3}}|{_HEX}{{6}})"),
    "rgbcolor": _matches(_RGB),
    "byte": _parses(lambda value: base64.b64decode(value, validate=True)),
    "password": lambda value: True,
    "date": _parses(date.fromisoformat),
    "duration": _matches(f"{_GO_DURATION}|{_LONG_DURATION}"),
    "datetime": _parses(parse_time),
    "quantity": _parses(Quantity.parse),
    "k8sshortname": lambda value: len(value) <= 63 and _short_name(value),
    "k8slongname": lambda value: len(value) <= 253 and _long_name(value),
}
_RANGES = {"int32": (-(1 << 31), (1 << 31) - 1), "int64": (-(1 << 63), (1 << 63) - 1)}
