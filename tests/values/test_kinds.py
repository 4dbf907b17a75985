"""Kinds of values: what each takes, what it makes of it, and how it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fbcli.values import kinds
from fbcli.values.declaration import Declaration, option, options_of


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        (kinds.switch(), "yes", True),
        (kinds.switch(), " OFF ", False),
        (kinds.switch(), 1, True),
        (kinds.switch(), False, False),
        (kinds.whole(), "3", 3),
        (kinds.whole(), 3.0, 3),
        (kinds.whole(-5, 5), "-5", -5),
        (kinds.whole_or("auto", 1, 9), "auto", "auto"),
        (kinds.whole_or("auto", 1, 9), "9", 9),
        (kinds.number(0.001, 100), "0.02", 0.02),
        (kinds.number(0.001, 100), 5, 5.0),
        (kinds.text(), "a", "a"),
        (kinds.text(), 7, "7"),
        (kinds.choice("a", "b"), "b", "b"),
        (kinds.seconds(), "10m", 600.0),
        (kinds.seconds(), 0, 0.0),
        (kinds.moment(), 1701687443, 1701687443.0),
        (kinds.size(), "500MB", 500_000_000),
        (kinds.names(), "a,b", ("a", "b")),
        (kinds.per_key(), "id=2", ("id", 2)),
        (kinds.threshold(), "5/1m", (5, 60.0)),
        (kinds.window(), "22:00-06:00", "22:00-06:00"),
        (kinds.zone(), "UTC", "UTC"),
    ],
)
def test_what_is_taken(kind: kinds.Kind, value: object, found: object) -> None:
    made = kind.check(value)
    assert made == found
    assert type(made) is type(found) or isinstance(found, tuple)
    assert kind.check(made) == made


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        (kinds.switch(), "maybe", "write true or false"),
        (kinds.switch(), 2, "write true or false"),
        (kinds.switch(), math.nan, "write true or false"),
        (kinds.whole(), "3.5", "write a whole number"),
        (kinds.whole(), 3.5, "write a whole number"),
        (kinds.whole(), math.nan, "write a whole number"),
        (kinds.whole(), math.inf, "write a whole number"),
        (kinds.whole(), True, "write a whole number"),
        (kinds.whole(), "²", "write a whole number"),
        (kinds.whole(), [1], "write a whole number"),
        (kinds.whole(), "9" * 5000, "write a whole number"),
        (kinds.whole(), 10**18, "between 0 and 1,000,000"),
        (kinds.whole(), -1, "between 0 and 1,000,000"),
        (kinds.whole_or("auto", 1, 9), "all", "write a whole number, or auto"),
        (kinds.whole_or("auto", 1, 9), 10, "between 1 and 9"),
        (kinds.number(0.001, 100), "fast", "write a number"),
        (kinds.number(0.001, 100), math.nan, "write a number"),
        (kinds.number(0.001, 100), "inf", "write a number"),
        (kinds.number(0.001, 100), 10**400, "write a number"),
        (kinds.number(0.001, 100), True, "write a number"),
        (kinds.number(0.001, 100), 0, "between 0.001 and 100"),
        (kinds.text(5), "", "1 to 5 characters"),
        (kinds.text(5), "abcdef", "1 to 5 characters"),
        (kinds.text(), None, "write a text"),
        (kinds.text(), True, "write a text"),
        (kinds.choice("a", "b"), "c", "write one of a, b"),
        (kinds.choice("a", "b"), ["a"], "write one of a, b"),
        (kinds.seconds(0.1), "10ms", "at least 100 ms"),
        (kinds.seconds(above=0), 0, "longer than 0 s"),
        (kinds.seconds(), "soon", "is not a duration"),
        (kinds.moment(), "18:00", "write Unix seconds"),
        (kinds.size(), 0, "at least one byte"),
        (kinds.window(), 5, "write a text"),
        (kinds.window(), "late", "is no span of time"),
        (kinds.zone(), "Berlin", "is no time zone"),
    ],
)
def test_what_is_refused_with_a_sentence(kind: kinds.Kind, value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        kind.check(value)


class First(Declaration):
    a: int = option(1, kinds.whole(), "A", "The first.")


class Second(Declaration):
    b: Any = option(None, kinds.whole(), "B", "The second.", needs=("a",))
    not_an_option = 5


class Both(First, Second):
    c: bool = option(False, kinds.switch())


def test_options_are_found_in_the_order_in_which_they_are_declared() -> None:
    assert list(options_of(Both)) == ["a", "b", "c"]
    assert options_of(Second)["b"].needs == ("a",)


def test_none_stands_only_where_it_is_the_default() -> None:
    found = options_of(Both)
    assert found["b"].check(None) is None
    with pytest.raises(ValueError, match="write a whole number"):
        found["a"].check(None)
