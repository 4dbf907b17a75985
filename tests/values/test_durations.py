"""Durations as text, read and written."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbcli.values.durations import LONGEST, exact, parse_duration, span

DURATIONS = st.floats(min_value=0, max_value=LONGEST)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5s", 1.5),
        ("10m", 600),
        ("1h30m", 5400),
        (" 2 min 5 s ", 125),
        ("7D", 604800),
        ("1w", 604800),
        ("250ms", 0.25),
        ("12 µs", 12e-6),
        ("1us", 1e-6),
        ("1e3", 1000),
        (0, 0),
        (2.5, 2.5),
        (timedelta(minutes=1), 60),
    ],
)
def test_reading(text: object, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("", "is not a duration; write seconds"),
        ("soon", "'soon' is not a duration"),
        ("1 fortnight", "is not a duration"),
        ("5s 5", "is not a duration"),
        ("s", "is not a duration"),
        ("1,5s", "is not a duration"),
        (None, "is not a duration"),
        (True, "is not a duration"),
        ([1], "is not a duration"),
        ("-1", "cannot be negative"),
        (-0.5, "cannot be negative"),
        ("nan", "at most a century"),
        (math.nan, "at most a century"),
        (math.inf, "at most a century"),
        ("inf", "at most a century"),
        ("1e300", "at most a century"),
        ("99999999999s", "at most a century"),
        ("9" * 400 + "d", "at most a century"),
        (10**400, "at most a century"),
    ],
)
def test_what_is_no_duration_is_refused_with_a_sentence(value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_duration(value)


@given(DURATIONS)
def test_what_is_written_exactly_is_read_as_the_same_number(seconds: float) -> None:
    assert parse_duration(exact(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(60, "60s"), (0.25, "0.25s"), (0, "0s"), (1234567, "1234567s")]
)
def test_writing_exactly(seconds: float, text: str) -> None:
    assert exact(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (4.2e-5, "42 µs"),
        (0.00042, "0.42 ms"),
        (0.42, "420 ms"),
        (0.9996, "1 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3599.7, "1 h"),
        (3661, "1 h 1 min"),
        (86400 * 3 + 7200, "3 d 2 h"),
        (86400 * 4000, "4000 d"),
        (math.inf, "more than a century"),
        (math.nan, "more than a century"),
    ],
)
def test_span(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


def test_a_span_has_as_many_digits_as_asked_for() -> None:
    assert [span(1.2345, digits) for digits in (1, 2, 3)] == ["1 s", "1.2 s", "1.23 s"]
    assert span(0.0125, 3) == "12.5 ms"
    assert span(125.4, 3) == "2 min 5 s"


@given(DURATIONS)
def test_a_span_is_read_as_about_what_it_stands_for(seconds: float) -> None:
    assert parse_duration(span(seconds)) == pytest.approx(seconds, rel=0.1, abs=1e-8)
