"""Any value as JSON: strictly, and whatever it is."""

from __future__ import annotations

import array
import json
from collections import Counter, OrderedDict, UserDict, UserList, deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from fbcli.values.encoding import (
    LEFT_OUT,
    LONGEST_REPR,
    MOST_ITEMS,
    embedded,
    json_text,
    lenient_json,
    odd_number,
    shown,
    stable_json,
    strict_json,
)


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


@dataclass
class Point:
    x: Any


class Pair(NamedTuple):
    a: int
    b: int


class Record(msgspec.Struct):
    x: Any


class Model(BaseModel):
    day: date
    point: Point | None = None


class Text(str):
    pass


class Moment(datetime):
    """As those of pandas and pendulum are."""


class Odd:
    def __repr__(self) -> str:
        return "<odd>"


class Silent:
    def __repr__(self) -> str:
        raise SystemExit("no")


class Scalar:
    """As those of NumPy are."""

    def tolist(self) -> float:
        return 1.5


class Index:
    def __index__(self) -> int:
        return 7


def kind(value: object) -> str:
    return type(value).__name__


DAY = date(2024, 1, 2)

FORMS = [
    (None, None),
    (True, True),
    (7, 7),
    (2**70, 2**70),
    (1.5, 1.5),
    ("ü", "ü"),
    ([1, "a"], [1, "a"]),
    ({"a": {"b": [None]}}, {"a": {"b": [None]}}),
    ((1, 2), [1, 2]),
    (Pair(1, 2), [1, 2]),
    ({7}, [7]),
    (frozenset({7}), [7]),
    ({7: 1}.keys(), [7]),
    (b"a", "YQ=="),
    (bytearray(b"a"), "YQ=="),
    (DAY, "2024-01-02"),
    (time(1, 2, 3), "01:02:03"),
    (datetime(2024, 1, 2, 3, tzinfo=timezone.utc), "2024-01-02T03:00:00Z"),
    (Moment(2024, 1, 2, 3), "2024-01-02T03:00:00"),
    (timedelta(seconds=90), "PT90S"),
    (Decimal("1.50"), "1.50"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Color.RED, "red"),
    (Level.HIGH, 3),
    (Path("a/b"), "a/b"),
    (PurePosixPath("a"), "a"),
    (Point(1), {"x": 1}),
    (Point(Model(day=DAY)), {"x": {"day": "2024-01-02", "point": None}}),
    (Record({Color.RED: 1}), {"x": {"red": 1}}),
    (Model(day=DAY, point=Point(1)), {"day": "2024-01-02", "point": {"x": 1}}),
    (Text("t"), "t"),
    (deque([1, 2]), [1, 2]),
    (range(3), [0, 1, 2]),
    (UserList([1]), [1]),
    (UserDict(a=1), {"a": 1}),
    (OrderedDict(a=1), {"a": 1}),
    (Counter("aab"), {"a": 2, "b": 1}),
    (array.array("d", [1.5]), [1.5]),
    (Scalar(), 1.5),
    (Index(), 7),
    ({1: Path("p")}, {"1": "p"}),
]
"""Values with one obvious JSON form, and that."""

FORMLESS = [
    (Odd(), "<odd>"),
    (1 + 2j, "(1+2j)"),
    (Fraction(1, 3), "Fraction(1, 3)"),
    (Model, f"{Model!r}"),
    (len, "<built-in function len>"),
    ([Odd(), 1], ["<odd>", 1]),
    ({"a": {"b": Odd()}, "c": 1}, {"a": {"b": "<odd>"}, "c": 1}),
    (Point(Odd()), {"x": "<odd>"}),
    (Record(Odd()), {"x": "<odd>"}),
    ({(1, 2): 3}, {"[1,2]": 3}),
    ({Odd()}, ["<odd>"]),
    (Silent(), "<Silent that cannot be shown>"),
    ([Silent()], ["<Silent that cannot be shown>"]),
    (10**5000, "<int that cannot be shown>"),
    ("a\ud800", "a\\ud800"),
    ({"\ud800": ["\ud800"]}, {"\\ud800": ["\\ud800"]}),
]
"""Values that have none, and what is told of them."""

ODD_NUMBERS = [
    (float("nan"), "nan"),
    (float("-inf"), "-inf"),
    ([1, float("nan"), None], [1, "nan", None]),
    ({"a": (float("inf"),)}, {"a": ["inf"]}),
    (Point(float("nan")), {"x": "nan"}),
    (UserList([float("nan")]), ["nan"]),
]


@pytest.mark.parametrize(("value", "form"), FORMS, ids=kind)
def test_what_has_a_form_gets_it_everywhere(value: object, form: object) -> None:
    assert json.loads(strict_json(value)) == form
    assert json.loads(lenient_json(value)) == form
    assert json.loads(lenient_json([Silent(), value]))[1] == form
    assert json.loads(msgspec.json.encode({"value": embedded(value)})) == {"value": form}
    assert odd_number(value) is None


@pytest.mark.parametrize(("value", "told"), FORMLESS, ids=kind)
def test_what_has_none_is_refused_or_told_by_its_repr(value: object, told: object) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)):
        strict_json(value)
    assert json.loads(lenient_json(value)) == told
    assert json.loads(json_text(value)) == told
    assert json.loads(stable_json(value)) == told
    assert json.loads(msgspec.json.encode([embedded(value)])) == [told]


@pytest.mark.parametrize(("value", "told"), ODD_NUMBERS, ids=kind)
def test_numbers_that_json_lacks_do_not_become_null(value: object, told: object) -> None:
    assert str(odd_number(value)) in ("nan", "inf", "-inf")
    assert json.loads(lenient_json(value)) == told
    assert json.loads(msgspec.json.encode([embedded(value)])) == [told]


def test_depth_width_and_circles_are_bounded() -> None:
    circle: list[Any] = []
    circle.extend([circle] * 5)
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    for value in (circle, deep, {"x": deep}, Point(circle)):
        with pytest.raises((RecursionError, ValueError)):
            strict_json(value)
        assert len(lenient_json(value)) < 50_000_000
    wide = json.loads(lenient_json([float("nan")] * 1_100_000))
    assert len(wide) == MOST_ITEMS
    assert wide[-2:] == ["nan", LEFT_OUT]
    many = json.loads(lenient_json({number: float("nan") for number in range(1_100_000)}))
    assert len(many) < MOST_ITEMS
    assert LEFT_OUT in many


def test_what_is_shown_is_cut() -> None:
    text = shown("a" * 10_000)
    assert len(text) == LONGEST_REPR
    assert text.endswith("…")


def test_an_interrupt_from_outside_passes() -> None:
    class Struck:
        def __repr__(self) -> str:
            raise KeyboardInterrupt

    assert lenient_json([Struck()]) == b'["<Struck that cannot be shown>"]'
    with pytest.raises(KeyboardInterrupt):
        lenient_json([Struck()], (KeyboardInterrupt,))
    with pytest.raises(KeyboardInterrupt):
        shown(Struck(), (KeyboardInterrupt,))


class Late:
    """Whose own code fails at whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise GeneratorExit(name)

    def __iter__(self) -> Iterator[Any]:
        raise KeyboardInterrupt


def test_code_of_the_value_that_fails_costs_nothing_but_the_value() -> None:
    assert json.loads(lenient_json([Late(), 1]))[1] == 1


def test_equal_on_the_wire_is_equal_as_a_key() -> None:
    assert stable_json({"b": {3, 1, 2}, "a": Path("p")}) == stable_json({"a": "p", "b": [1, 2, 3]})
    assert stable_json({"a": (1,)}) == stable_json({"a": [1]})
    assert stable_json({"a": 1}) != stable_json({"a": 2})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner)
        ),
        max_leaves=20,
    )
)
def test_whatever_it_is_it_is_json(value: object) -> None:
    told = json.loads(lenient_json(value))
    assert json.loads(lenient_json(told)) == told
