"""Thresholds, limits for each key, and names, as text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbcli.values.durations import LONGEST
from fbcli.values.names import join_names, parse_names
from fbcli.values.per_key import PerKey, parse_per_key
from fbcli.values.thresholds import Threshold, parse_threshold


def test_reading() -> None:
    assert parse_threshold("5/60s") == (5, 60.0)
    assert parse_threshold(" 5 / 1m ") == (5, 60.0)
    assert parse_threshold(Threshold(5, 60)) == (5, 60.0)
    assert parse_threshold([5, 60.0]) == (5, 60.0)
    assert parse_per_key("customer_id=2") == ("customer_id", 2)
    assert parse_per_key(" id = 3 ") == ("id", 3)
    assert parse_per_key(["id", 3]) == PerKey("id", 3)
    assert parse_names("a, b  c,") == ("a", "b", "c")
    assert parse_names(["a"]) == ("a",)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("5", "write failures and a time, like 5/60s"),
        ("x/60s", "is no threshold"),
        ("-1/60s", "is no threshold"),
        (5, "is no threshold"),
        ((5.5, 60), "is no threshold"),
        ("0/60s", "from 1 to 1,000,000 failures"),
        ("9" * 5000 + "/60s", "from 1 to 1,000,000 failures"),
        ("5/soon", "is not a duration"),
        ("5/0s", "a time above 0"),
        ((5, math.nan), "at most a century"),
    ],
)
def test_what_is_no_threshold(value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_threshold(value)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("customer_id", "like customer_id=2"),
        ("2x=2", "names no limit"),
        ("id=two", "names no limit"),
        ("id=²", "names no limit"),
        (("id", 2.0), "names no limit"),
        (7, "names no limit"),
        ("id=0", "between 1 and 100,000"),
        ("id=" + "9" * 5000, "between 1 and 100,000"),
    ],
)
def test_what_is_no_limit_for_each_key(value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_per_key(value)


@pytest.mark.parametrize("value", [3, [1], None, {"a": 1}])
def test_what_is_no_list_of_names(value: object) -> None:
    with pytest.raises(ValueError, match="is no list of names"):
        parse_names(value)


@given(st.integers(1, 1_000_000), st.floats(1e-6, LONGEST))
def test_what_is_written_is_read_as_the_same(number: int, seconds: float) -> None:
    assert parse_threshold(str(Threshold(number, seconds))) == (number, seconds)
    assert parse_per_key(str(PerKey("id", min(number, 100_000)))).limit == min(number, 100_000)


@given(st.lists(st.from_regex(r"[a-z_][a-z0-9_.]*", fullmatch=True)))
def test_joined_names_are_read_as_the_same(names: list[str]) -> None:
    assert parse_names(join_names(tuple(names))) == tuple(names)
