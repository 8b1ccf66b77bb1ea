"""Times on the wire and kubectl's ages."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from wherry.meta.time import age, format_duration, format_micro_time, format_time, parse_time

NOON = datetime(2026, 1, 2, 12, 0, 0, 120, tzinfo=UTC)


def test_times_are_utc_with_whole_seconds() -> None:
    assert format_time(NOON.astimezone(timezone(timedelta(hours=2)))) == "2026-01-02T12:00:00Z"


def test_micro_times_have_six_decimals() -> None:
    assert format_micro_time(NOON) == "2026-01-02T12:00:00.000120Z"


@pytest.mark.parametrize("text", ["2026-01-02T12:00:00Z", "2026-01-02T14:00:00+02:00", "2026-01-02T12:00:00.0000Z"])
def test_any_offset_and_precision_is_read(text: str) -> None:
    assert parse_time(text) == NOON.replace(microsecond=0)


@pytest.mark.parametrize("text", ["", "today", "2026-01-02", "2026-01-02T12:00:00", "2026-01-02 12:00:00Z", "x" * 20])
def test_what_is_not_rfc_3339_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="parsing time"):
        parse_time(text)


AGES = {
    "clock a bit behind": (-1, "0s"),
    "clock far behind": (-5, "<invalid>"),
    "seconds": (119, "119s"),
    "minutes and seconds": (125, "2m5s"),
    "whole minutes": (180, "3m"),
    "minutes": (725, "12m"),
    "hours and minutes": (3 * 3600 + 7 * 60, "3h7m"),
    "hours": (23 * 3600, "23h"),
    "days and hours": (2 * 86400 + 5 * 3600, "2d5h"),
    "days": (300 * 86400, "300d"),
    "years and days": ((2 * 365 + 11) * 86400, "2y11d"),
    "years": (9 * 365 * 86400, "9y"),
}


@pytest.mark.parametrize(("seconds", "expected"), AGES.values(), ids=AGES)
def test_durations_grow_coarser(seconds: int, expected: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == expected


def test_age_of_nothing_is_unknown() -> None:
    assert age(None, NOON) == "<unknown>"
    assert age("2026-01-02T11:59:00Z", NOON) == "60s"
