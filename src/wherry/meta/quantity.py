"""Resource quantities ("500m", "1.5Gi", "1e3"): parsed, canonicalised, compared and added as Kubernetes does.

A Quantity is a str in canonical form, so it hashes, encodes and prints at no cost; its number is found through a
cache. Nothing in Kubernetes is finer than a nano, so the number is one exact integer of nanos and there is no rounding
to reason about. Equal numbers may be spelled in different families ("1Ki" and "1024"): compare with `compare`, not ==.

Source of the rules: k8s.io/apimachinery/pkg/api/resource.
"""

from functools import lru_cache
from typing import Literal

Family = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

NANO = 10**9
_MAX = (2**63 - 1) * NANO
"""Numbers of more than 18 digits are capped here, as upstream caps whatever leaves its int64 path."""

_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_BY_EXPONENT = ["", *_BINARY]
_DECIMAL_BY_EXPONENT = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_SUFFIX_CHARS = "eEinumkKMGTP"

WRONG_FORMAT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
WRONG_NUMBER = "unable to parse numeric part of quantity"
WRONG_SUFFIX = "unable to parse quantity's suffix"


class Quantity(str):
    """A canonical quantity. Make one with `parse` or the `of_*` constructors, never with Quantity(text)."""

    __slots__ = ()

    @staticmethod
    def parse(value: "str | int | float") -> "Quantity":
        """`value` in canonical form. Raises ValueError with Kubernetes' message."""
        if type(value) is Quantity:
            return value
        return _parse(value if isinstance(value, str) else repr(value))

    @staticmethod
    def of_nanos(nanos: int, family: Family = "DecimalSI") -> "Quantity":
        """The quantity of so many nanos, spelled in `family`."""
        return Quantity(_canonical(nanos, family))

    @staticmethod
    def of_milli(milli: int) -> "Quantity":
        """The decimal quantity of so many thousandths (CPU)."""
        return Quantity.of_nanos(milli * (NANO // 1000))

    @staticmethod
    def of_value(value: int, family: Family = "BinarySI") -> "Quantity":
        """The quantity of so many whole units (bytes, pods)."""
        return Quantity.of_nanos(value * NANO, family)

    def nanos(self) -> int:
        """The exact number, in thousand-millionths."""
        return _read(self)[0]

    def family(self) -> Family:
        """How the quantity is spelled."""
        return _read(self)[1]

    def value(self) -> int:
        """Whole units, rounded away from zero."""
        return _round_up(_read(self)[0], NANO)

    def milli_value(self) -> int:
        """Thousandths, rounded away from zero."""
        return _round_up(_read(self)[0], NANO // 1000)

    def is_zero(self) -> bool:
        return _read(self)[0] == 0

    def compare(self, other: "Quantity") -> int:
        """Negative, zero or positive as the number is less than, equal to or greater than `other`'s."""
        return _read(self)[0] - _read(other)[0]

    def add(self, other: "Quantity") -> "Quantity":
        """The sum, in this quantity's family (in the other's when this one is zero)."""
        nanos, family = _read(self)
        return Quantity.of_nanos(nanos + _read(other)[0], family if nanos else _read(other)[1])

    def sub(self, other: "Quantity") -> "Quantity":
        """The difference, in this quantity's family (in the other's when this one is zero)."""
        nanos, family = _read(self)
        return Quantity.of_nanos(nanos - _read(other)[0], family if nanos else _read(other)[1])


@lru_cache(maxsize=16384)
def _parse(text: str) -> Quantity:
    return Quantity(_canonical(*_read(text)))


@lru_cache(maxsize=16384)
def _read(text: str) -> tuple[int, Family]:
    """Nanos and family of any spelling."""
    if text.isascii():  # the common forms: digits and one suffix, or digits alone
        if text.isdecimal() and len(text) < 19:
            return int(text) * NANO, "DecimalSI"
        head, suffix = text[:-2], text[-2:]
        if suffix in _BINARY and head.isdecimal() and len(head) < 10:
            return (int(head) << _BINARY[suffix]) * NANO, "BinarySI"
        head, suffix = text[:-1], text[-1:]
        if suffix in _DECIMAL and head.isdecimal() and len(head) < 19:
            return int(head) * 10 ** (_DECIMAL[suffix] + 9), "DecimalSI"
    return _read_any(text)


def _read_any(text: str) -> tuple[int, Family]:
    sign, whole, fraction, suffix = _split(text.strip())
    base, exponent, family = _interpret(suffix)
    digits = len(whole) + len(fraction)
    number = int(whole + fraction)
    if number == 0:
        return 0, family
    if base == 2:
        nanos = _round_up((number * NANO) << exponent, 10 ** len(fraction))
        exact = not fraction and 14 - len(whole) - exponent * 3 // 10 >= 0
    else:
        scale = exponent + 9 - len(fraction)
        exact = digits <= 18
        # Beyond these bounds the result is the cap or one nano whatever the digits; do not build the giant integer.
        if scale > 400:
            return sign * _MAX, family
        nanos = number * 10**scale if scale >= 0 else (_round_up(number, 10**-scale) if scale >= -400 else 1)
    return sign * (nanos if exact else min(nanos, _MAX)), family


def _split(text: str) -> tuple[int, str, str, str]:
    """Sign, digits before and after the point, suffix."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    after = rest.lstrip("0123456789")
    whole = rest[: len(rest) - len(after)]
    fraction = ""
    if after.startswith("."):
        suffix = after[1:].lstrip("0123456789")
        fraction = after[1 : len(after) - len(suffix)]
        after = suffix
    exponent = after.lstrip(_SUFFIX_CHARS)
    if exponent[:1] in ("+", "-"):
        exponent = exponent[1:]
    if not (whole or fraction) or exponent.strip("0123456789"):
        raise ValueError(WRONG_FORMAT)
    return (-1 if text.startswith("-") else 1), whole.lstrip("0") or "0", fraction, after


def _interpret(suffix: str) -> tuple[int, int, Family]:
    """Base, exponent and family of a suffix."""
    if suffix in _BINARY:
        return 2, _BINARY[suffix], "BinarySI"
    if suffix in _DECIMAL:
        return 10, _DECIMAL[suffix], "DecimalSI"
    if suffix[:1] in ("e", "E") and suffix[1:].lstrip("+-").isdecimal() and len(suffix) < 20:
        return 10, int(suffix[1:]), "DecimalExponent"
    raise ValueError(WRONG_SUFFIX)


@lru_cache(maxsize=16384)
def _canonical(nanos: int, family: Family) -> str:
    """The one spelling: no fraction, the greatest suffix, small or fractional binary numbers as decimals."""
    if nanos == 0:
        return "0"
    if family == "BinarySI" and nanos % NANO == 0 and abs(nanos) >= 1024 * NANO:
        value, exponent = nanos // NANO, 0
        while value % 1024 == 0 and exponent < 6:
            value, exponent = value // 1024, exponent + 1
        return f"{value}{_BINARY_BY_EXPONENT[exponent]}"
    value, exponent = nanos, -9
    while value % 1000 == 0 and (family == "DecimalExponent" or exponent < 18):
        value, exponent = value // 1000, exponent + 3
    if family == "DecimalExponent":
        return f"{value}e{exponent}" if exponent else str(value)
    return f"{value}{_DECIMAL_BY_EXPONENT[exponent]}"


def _round_up(number: int, unit: int) -> int:
    return -(-number // unit) if number >= 0 else number // unit
