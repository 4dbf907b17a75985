"""Moments as text, read and written."""

from __future__ import annotations

import math
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbcli.values.moments import LATEST, ago, check_moment, due, local, parse_moment

NOW = datetime(2026, 11, 28, 12, 0).timestamp()


def at(*parts: int) -> float:
    return datetime(*parts).timestamp()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("18:00", at(2026, 11, 28, 18)),
        ("9:30", at(2026, 11, 29, 9, 30)),
        ("12:00", at(2026, 11, 29, 12)),
        (" 12:00:01 ", at(2026, 11, 28, 12, 0, 1)),
        ("2026-12-24 18:00", at(2026, 12, 24, 18)),
        ("2026-12-24", at(2026, 12, 24)),
        ("2026-12-24T18:00:00Z", datetime(2026, 12, 24, 18, tzinfo=timezone.utc).timestamp()),
        ("2026-12-24T18:00:00+02:00", 1798128000.0),
        ("1701687443.5", 1701687443.5),
        (1701687443, 1701687443.0),
        (datetime(2026, 12, 24, 18), at(2026, 12, 24, 18)),
    ],
)
def test_reading(text: object, moment: float) -> None:
    assert parse_moment(text, now=NOW) == moment


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("", "is not a time; write 18:00"),
        ("soon", "'soon' is not a time"),
        ("25:00", "is not a time"),
        ("12:60", "is not a time"),
        ("2026-02-30", "is not a time"),
        ("nan", "1970 and 2199"),
        (math.inf, "1970 and 2199"),
        (10**400, "1970 and 2199"),
        ("1701687443000", "Unix times are in seconds"),
        ("0001-01-01", "1970 and 2199|beyond what clocks can tell"),
        ("9999-12-31", "1970 and 2199"),
        (True, "is no time"),
        (None, "is no time"),
        ([1], "is no time"),
    ],
)
def test_what_is_no_time_is_refused_with_a_sentence(value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_moment(value, now=NOW)


def test_in_a_message_a_time_is_a_number() -> None:
    assert check_moment(1701687443) == 1701687443.0
    with pytest.raises(ValueError, match="write Unix seconds"):
        check_moment("18:00")


@given(st.floats(min_value=86400, max_value=LATEST - 86400))
def test_what_is_written_is_read_as_the_same_second(moment: float) -> None:
    # by night in autumn the clock on the wall shows an hour twice
    assert abs(parse_moment(local(moment), now=NOW) - moment) < 1 + 3600


def test_writing() -> None:
    assert ago(None, 100.0) is None
    assert ago(90.0, 100.0) == "10 s ago"
    assert due(90.0, 100.0) == "now"
    assert due(1e12, 100.0) == "in more than ten years"
    assert due(1_000_000_060.0, 1_000_000_000.0).endswith("(in 1 min)")


@given(st.floats(allow_nan=False))
def test_no_number_is_too_strange(moment: float) -> None:
    local(moment)
    due(moment, 1e9)
    ago(moment, 1e9)
