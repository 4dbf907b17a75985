"""The wire format: what survives the way, what is refused, and with which sentence."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from dataclasses import dataclass
from datetime import date, datetime, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from fbcli.errors import BadMessage
from fbcli.message import (
    EXTRA,
    MAX_BYTES,
    MAX_DEPTH,
    ROOM_FOR_EXTRA,
    check_limits,
    decode,
    encode,
    new_task_id,
    replace_extra,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**100), 2**100)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
ARGUMENTS = st.dictionaries(TEXT.filter(lambda name: name != EXTRA), JSON, max_size=5)


# --- there and back


@given(ARGUMENTS, st.dictionaries(TEXT, JSON, max_size=3))
def test_whatever_is_json_survives(arguments: dict[str, Any], extra: dict[str, Any]) -> None:
    assert decode(encode(arguments, extra)) == (arguments, extra)


@given(ARGUMENTS)
def test_the_body_is_json_that_others_read_and_write(arguments: dict[str, Any]) -> None:
    assert json.loads(encode(arguments, {})) == {**arguments, EXTRA: {}}
    assert decode(json.dumps(arguments).encode()) == (arguments, {})
    assert decode(json.dumps(arguments, ensure_ascii=False, indent=2).encode()) == (arguments, {})


def test_extra_is_optional_and_may_be_null() -> None:
    assert decode(b'{"x":1}') == ({"x": 1}, {})
    assert decode(b'{"x":1,"extra":null}') == ({"x": 1}, {})


class Color(Enum):
    RED = "red"


class Size(IntEnum):
    BIG = 3


@dataclass
class Point:
    x: int
    y: int


class Model(BaseModel):
    day: date
    name: str = "n"


class Text(str):
    pass


@pytest.mark.parametrize(
    ("value", "on_the_wire"),
    [
        (datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone.utc), "2024-01-02T03:04:05Z"),
        (date(2024, 1, 2), "2024-01-02"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Color.RED, "red"),
        (Size.BIG, 3),
        ({7}, [7]),
        ((1, 2), [1, 2]),
        (b"a", "YQ=="),
        (Point(1, 2), {"x": 1, "y": 2}),
        (Model(day=date(2024, 1, 2)), {"day": "2024-01-02", "name": "n"}),
        (Path("a/b"), "a/b"),
        (Text("t"), "t"),
        (deque([1, 2]), [1, 2]),
        (range(3), [0, 1, 2]),
        ({1: Path("p")}, {"1": "p"}),
    ],
)
def test_types_with_one_obvious_json_form_travel(value: object, on_the_wire: object) -> None:
    assert decode(encode({"x": value}, {}))[0] == {"x": on_the_wire}
    assert decode(encode({"x": [value]}, {}))[0] == {"x": [on_the_wire]}


# --- what cannot travel


@pytest.mark.parametrize(
    "value",
    [
        object(),
        1 + 2j,
        lambda: 1,
        open,
        {(1, 2): 3},
        "\ud800",
        {"\ud800": 1},
        [10**5000],
        Model,
        [object()],
    ],
)
def test_what_has_no_json_form_is_named(value: object) -> None:
    with pytest.raises(BadMessage, match=r"Argument 'bad' cannot be written as JSON"):
        encode({"good": 1, "bad": value}, {})


def test_a_name_or_an_extra_without_json_form_is_refused_too() -> None:
    with pytest.raises(BadMessage):
        encode({"\ud800": 1}, {})
    with pytest.raises(BadMessage, match="'extra'"):
        encode({}, {"x": object()})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_lacks_does_not_become_null(number: float) -> None:
    for value in (number, [1, number], {"a": (number,)}):
        with pytest.raises(BadMessage, match=f"Argument 'x' holds {number}"):
            encode({"x": value}, {})
    assert decode(encode({"x": None, "y": "null", "z": [1.5, None]}, {}))[0] == {
        "x": None,
        "y": "null",
        "z": [1.5, None],
    }


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"x", "not JSON"),
        (b'{"x":1} y', "not JSON"),
        (b'{"x":NaN}', "not JSON"),
        (b'{"x":1e999}', "not JSON"),
        (b"{'x':1}", "not JSON"),
        (b'{"x":"\\ud800"}', "not JSON"),
        (b"[1]", "not an object"),
        (b" 3", "not an object"),
        (b"null", "not an object"),
        (b'{"x":"\xff"}', "not UTF-8"),
        (b'{"\xff":1}', "not UTF-8"),
        (b'{"x":"\xed\xa0\x80"}', "not UTF-8"),
        (b"\xff\xfe{\x00}\x00", "not JSON"),
        (b'{"extra":1}', "'extra' is not an object"),
        (b'{"extra":[]}', "'extra' is not an object"),
    ],
)
def test_bytes_that_are_no_message(body: bytes, sentence: str) -> None:
    with pytest.raises(BadMessage, match=sentence):
        decode(body)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_a_bad_one(body: bytes) -> None:
    try:
        decode(body)
    except BadMessage:
        wrapped, extra = decode(replace_extra(body, {"dead": {"reason": "r"}}))
        assert list(wrapped) == ["raw"]
        assert extra == {"dead": {"reason": "r"}}


# --- limits


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_nesting_up_to_the_limit_travels() -> None:
    body = encode({"x": nested(MAX_DEPTH - 1)}, {})
    assert decode(body)[0] == {"x": nested(MAX_DEPTH - 1)}


@pytest.mark.parametrize("depth", [MAX_DEPTH, 500, 5_000, 100_000])
def test_deeper_nesting_is_refused_on_both_sides(depth: int) -> None:
    with pytest.raises(BadMessage, match="nested more than 64 levels"):
        encode({"x": nested(depth)}, {})
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        with pytest.raises(BadMessage, match="nested more than 64 levels"):
            decode(b'{"x":' + opening * depth + b"1" + closing * depth + b"}")


def test_width_is_not_depth_and_brackets_in_text_do_not_count() -> None:
    arguments = {
        "rows": [{"a": [index], "b": ["[[", '"[\\', "}"]} for index in range(500)],
        "t": '[{"' * 500 + "\\",
    }
    assert decode(encode(arguments, {})) == (arguments, {})


def test_size_is_limited() -> None:
    room = MAX_BYTES - len(encode({"x": ""}, {}))
    fits = encode({"x": "a" * room}, {})
    assert len(fits) == MAX_BYTES
    decode(fits)
    with pytest.raises(BadMessage, match=r"4,194,305 bytes; the limit is 4,194,304"):
        encode({"x": "a" * (room + 1)}, {})
    with pytest.raises(BadMessage, match="the limit is"):
        check_limits(b" " * (MAX_BYTES + 1))
    with pytest.raises(BadMessage, match="the limit is"):
        decode(b'{"x":"' + b"a" * (MAX_BYTES + ROOM_FOR_EXTRA) + b'"}')


# --- replace_extra


def test_replace_extra_sets_and_removes_keys_and_keeps_the_rest() -> None:
    body = encode({"x": 1}, {"task_id": "t", "attempts": 2})
    assert decode(replace_extra(body, {"attempts": None, "dead": {"reason": "r"}})) == (
        {"x": 1},
        {"task_id": "t", "dead": {"reason": "r"}},
    )
    assert replace_extra(b'{"x":1}', {}) == b'{"x":1,"extra":{}}'


@given(ARGUMENTS, st.dictionaries(TEXT, JSON.filter(lambda value: value is not None), max_size=3))
def test_replace_extra_loses_nothing(arguments: dict[str, Any], changes: dict[str, Any]) -> None:
    body = encode(arguments, {"task_id": "t"})
    assert decode(replace_extra(body, changes)) == (arguments, {"task_id": "t", **changes})


def test_a_full_message_has_room_for_its_details() -> None:
    body = encode({"x": "a" * (MAX_BYTES - 30)}, {})
    dead = replace_extra(body, {"dead": {"traceback": "t" * 10_000}})
    assert len(dead) > MAX_BYTES
    assert decode(dead)[1] == {"dead": {"traceback": "t" * 10_000}}


def test_what_is_no_message_is_kept_as_text() -> None:
    assert decode(replace_extra(b"\xffhi", {"dead": {}})) == ({"raw": "\\xffhi"}, {"dead": {}})
    assert decode(replace_extra("grüß".encode(), {}))[0] == {"raw": "grüß"}
    deep = b'{"x":' + b"[" * 100 + b"]" * 100 + b"}"
    assert decode(replace_extra(deep, {}))[0] == {"raw": deep.decode()}


@pytest.mark.parametrize("byte", [b"a", b"\x00", b"\xff", b'"'])
def test_what_is_too_large_is_kept_as_far_as_it_fits(byte: bytes) -> None:
    arguments, extra = decode(
        replace_extra(byte * (MAX_BYTES + ROOM_FOR_EXTRA + 1), {"dead": {"reason": "large"}})
    )
    assert len(arguments["raw"]) > MAX_BYTES // 10
    assert extra == {"dead": {"reason": "large"}}


def test_an_error_text_with_half_a_character_does_not_stop_the_burial() -> None:
    body = replace_extra(
        b'{"x":"\xc3\xbc"}', {"dead": {"reason": "no file \udcff", "lines": ["\udcff", 1]}}
    )
    assert decode(body) == (
        {"x": "ü"},
        {"dead": {"reason": "no file \\udcff", "lines": ["\\udcff", 1]}},
    )


# --- task ids


def test_task_ids_are_uuid7_and_sort_by_time() -> None:
    before = time.time_ns() // 1_000_000
    ids = [new_task_id() for _ in range(1000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == 1000
    for each in ids:
        assert re.fullmatch(
            r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", each
        )
        assert UUID(each).version == 7
        assert UUID(each).variant == "specified in RFC 4122"
        assert before <= UUID(each).int >> 80 <= after
    assert [each[:13] for each in ids] == sorted(each[:13] for each in ids)
