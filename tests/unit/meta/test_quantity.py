"""Quantities are canonicalised, rounded, compared and added as apimachinery's resource.Quantity does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.meta.quantity import WRONG_FORMAT, WRONG_SUFFIX, Quantity

CANONICAL = {
    "whole milli becomes units": ("1000m", "1"),
    "fraction becomes milli": ("0.5", "500m"),
    "thousands take a suffix": ("1000", "1k"),
    "but not when a fraction would be needed": ("1500", "1500"),
    "binary climbs": ("1024Ki", "1Mi"),
    "binary fraction falls": ("1.5Gi", "1536Mi"),
    "small binary is decimal": ("0.5Ki", "512"),
    "inexact binary is decimal": ("1.1Ki", "1126400m"),
    "exponent stays": ("1e3", "1e3"),
    "exponents are multiples of three": ("12e-1", "1200e-3"),
    "upper-case exponent": ("1E3", "1e3"),
    "E alone is exa": ("1E", "1E"),
    "zero loses its suffix": ("0Mi", "0"),
    "leading point": (".5", "500m"),
    "trailing point": ("5.", "5"),
    "plus sign": ("+5", "5"),
    "negative": ("-1.5", "-1500m"),
    "finer than nano rounds up": ("1.0000000001", "1000000001n"),
    "too big is capped": ("99999999999999999999", "9223372036854775807"),
    "absurd exponent is capped": ("1e999999999", "9223372036854775807"),
    "absurdly small rounds up": ("1e-999999999", "1e-9"),
    "JSON number": (0.5, "500m"),
    "JSON integer": (3, "3"),
    "millions in bytes": ("128974848", "128974848"),
}


@pytest.mark.parametrize(("given_value", "expected"), CANONICAL.values(), ids=CANONICAL)
def test_parse_gives_the_canonical_form(given_value: str | float, expected: str) -> None:
    assert Quantity.parse(given_value) == expected
    assert Quantity.parse(expected) == expected


@pytest.mark.parametrize("text", ["", "x", "1x", ".", "Ki", "--1", "1 Gi", "1.2.3", "1Gi5x", "١"])
def test_malformed_text_is_refused_with_the_regular_expression(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match") as error:
        Quantity.parse(text)
    assert str(error.value) == WRONG_FORMAT


@pytest.mark.parametrize("text", ["1mm", "1e", "1Kk", "1eE", "1e+"])
def test_an_unknown_suffix_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="suffix") as error:
        Quantity.parse(text)
    assert str(error.value) == WRONG_SUFFIX


ROUNDED = {"up": ("1100m", 2, 1100), "nano": ("1n", 1, 1), "negative away from zero": ("-1100u", -1, -2)}


@pytest.mark.parametrize(("text", "value", "milli"), ROUNDED.values(), ids=ROUNDED)
def test_values_round_away_from_zero(text: str, value: int, milli: int) -> None:
    quantity = Quantity.parse(text)
    assert (quantity.value(), quantity.milli_value()) == (value, milli)


def test_equal_numbers_of_different_families_compare_equal() -> None:
    assert Quantity.parse("1Ki").compare(Quantity.parse("1024")) == 0
    assert Quantity.parse("1G").compare(Quantity.parse("1Gi")) < 0


def test_sums_keep_the_family_of_the_first_that_is_not_zero() -> None:
    assert Quantity.parse("512Mi").add(Quantity.parse("512Mi")) == "1Gi"
    assert Quantity.parse("0").add(Quantity.parse("1Ki")) == "1Ki"
    assert Quantity.parse("1").sub(Quantity.parse("250m")) == "750m"


def test_a_quantity_hashes_as_its_text() -> None:
    assert hash(Quantity.parse("1000m")) == hash("1")
    named: dict[str, str] = {Quantity.parse("1"): "x"}
    assert named["1"] == "x"


def test_constructors_choose_the_usual_family() -> None:
    assert Quantity.of_milli(1500) == "1500m"
    assert Quantity.of_value(3 * 1024**3) == "3Gi"
    assert Quantity.of_value(110, "DecimalSI") == "110"


NANOS = st.integers(min_value=-(10**27), max_value=10**27)


@given(NANOS, st.sampled_from(["DecimalSI", "BinarySI", "DecimalExponent"]))
def test_every_canonical_text_reads_back_as_the_same_number(nanos: int, family: str) -> None:
    quantity = Quantity.of_nanos(nanos, family)  # type: ignore[arg-type]
    assert quantity.nanos() == nanos
    assert Quantity.parse(str(quantity)).nanos() == nanos


@given(NANOS, NANOS)
def test_order_is_the_order_of_the_numbers(one: int, other: int) -> None:
    compared = Quantity.of_nanos(one).compare(Quantity.of_nanos(other))
    assert (compared > 0) == (one > other)
    assert (compared < 0) == (one < other)
