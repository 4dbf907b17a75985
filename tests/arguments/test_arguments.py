"""Arguments: bound and checked against a signature, read from the shell, from templates."""

# ruff: noqa: UP007, UP045 - both ways to write a union are read

from __future__ import annotations

import builtins
import dataclasses
import functools
import io
import json
import re
import time as clock
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    TypedDict,
    Union,
)
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, PositiveInt

from fbcli.arguments.shell import Template, parse_pairs
from fbcli.arguments.signature import Signature
from fbcli.errors import BadArguments, ExitCode, UsageError
from fbcli.message import MAX_BYTES, decode, encode

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]

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
NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(lambda name: name != "extra")


class Color(Enum):
    RED = "red"
    DEEP_BLUE = "blue"


class Size(IntEnum):
    SMALL = 1
    BIG = 2


@dataclasses.dataclass
class Point:
    x: int
    on: date | None = None


class Model(BaseModel):
    day: date
    count: PositiveInt = 1


class Other(BaseModel):
    other: int


class Pair(NamedTuple):
    a: int
    b: str


class Typed(TypedDict):
    day: date


class Struct(msgspec.Struct):
    a: int


UserId = NewType("UserId", int)


def task(x: int, y: int = 2) -> int:
    return x + y


def only(a: int, b: int = 2, /, c: int = 3, *, d: int = 4) -> tuple[int, int, int, int]:
    return a, b, c, d


def open_ended(x: int, **others: float) -> dict[str, Any]:
    return {"x": x, **others}


def unresolvable(
    a: Unknown, b: list[Unknown], c: date, d: Optional[Unknown] = None, e: 1 / 0 = 1
) -> None:  # type: ignore[valid-type]
    ...


def annotated(kind: Any, default: Any = dataclasses.MISSING) -> Signature:
    """Return the signature `of(x: kind)`."""

    def function(x: Any = default) -> None: ...

    if default is dataclasses.MISSING:
        function.__defaults__ = None
    function.__annotations__ = {"x": kind}
    return Signature.of(function, "mymod:task")


# --- the signature


def test_text() -> None:
    assert Signature.of(task).text == "(x: int, y: int = 2)"
    assert Signature.of(only).text == "(a: int, b: int = 2, /, c: int = 3, *, d: int = 4)"
    assert Signature.of(open_ended).text == "(x: int, **others: float)"
    assert annotated(date | None, None).text == "(x: date | None = None)"
    assert annotated(list[int], "a" * 100).text == f"(x: list[int] = '{'a' * 28}…)"
    assert Signature.of(lambda: None).text == "()"
    assert Signature.of(task).name == f"{__name__}:task"


def test_bind_names_what_was_given_and_adds_nothing() -> None:
    signature = Signature.of(task)
    assert signature.bind((1,), {}) == {"x": 1}
    assert signature.bind((1, 3), {}) == {"x": 1, "y": 3}
    assert signature.bind((), {"y": 3, "x": 1}) == {"x": 1, "y": 3}
    assert Signature.of(only).bind((1, 2, 3), {"d": 4}) == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert Signature.of(only).bind((), {"a": 1}) == {"a": 1}
    assert Signature.of(open_ended).bind((1,), {"z": 2, "user-id": 3}) == {
        "x": 1,
        "z": 2,
        "user-id": 3,
    }


@pytest.mark.parametrize(
    ("args", "kwargs", "sentence"),
    [
        ((), {}, "m:task needs 'x'; its parameters are (x: int, y: int = 2)."),
        ((), {"y": 1}, "m:task needs 'x'; its parameters are (x: int, y: int = 2)."),
        ((1,), {"z": 1}, "m:task takes no 'z'; its parameters are (x: int, y: int = 2)."),
        (
            (),
            {"xx": 1},
            (
                "m:task needs 'x' and takes no 'xx'; its parameters are (x: int, y: int = 2). Did"
                " you mean 'x'?"
            ),
        ),
        ((1, 2, 3), {}, "m:task takes at most 2 arguments by position, not 3"),
        ((1,), {"x": 1}, "m:task got 'x' twice, by position and by name."),
        ((1,), {"extra": 1}, "'extra' cannot be an argument: messages reserve the name."),
    ],
)
def test_bind_says_what_does_not_fit(
    args: tuple[Any, ...], kwargs: dict[str, Any], sentence: str
) -> None:
    signature = Signature.of(task, "m:task")
    for _ in range(2):
        with pytest.raises(BadArguments) as caught:
            signature.bind(args, kwargs)
        assert sentence in str(caught.value)
        assert caught.value.exit_code == ExitCode.USAGE


def test_surplus_positional_arguments_cannot_travel() -> None:
    def function(x: int, *rest: int, **more: int) -> None: ...

    signature = Signature.of(function, "m:f")
    assert signature.bind((1,), {"z": 1}) == {"x": 1, "z": 1}
    with pytest.raises(BadArguments, match=r"those of \*args cannot travel: pass a list"):
        signature.bind((1, 2), {})
    with pytest.raises(BadArguments, match="m:f needs 'x'"):
        signature.bind((), {"z": 1})


def test_refuse_judges_names_only() -> None:
    signature = Signature.of(task, "m:task")
    for _ in range(2):
        assert signature.refuse({"x": "anything"}) is None
        assert signature.refuse({"y": 1, "x": 1}) is None
        assert "needs 'x'" in (signature.refuse({}) or "")
        assert "takes no 'z'" in (signature.refuse({"x": 1, "z": 1}) or "")
    assert (
        Signature.of(lambda: None, "m:none").refuse({"x": 1})
        == "m:none takes no 'x'; it has no parameters."
    )


def test_what_is_remembered_is_bounded() -> None:
    signature = Signature.of(open_ended)
    for index in range(3000):
        assert signature.refuse({"x": 1, f"key{index}": 1}) is None
        assert signature.read(f"key{index}", "1.5") == 1.5
    assert len(signature._fitting) == len(signature._readers) == 1000


def test_a_parameter_called_extra_is_refused() -> None:
    def function(x: int, extra: int) -> None: ...

    with pytest.raises(UsageError, match="'extra', a name that messages reserve"):
        Signature.of(function)

    def collects(x: int, **extra: int) -> None: ...

    assert Signature.of(collects).refuse({"x": 1, "y": 2}) is None


def test_how_the_function_is_called() -> None:
    assert Signature.of(task).keywords_only
    assert Signature.of(open_ended).keywords_only
    signature = Signature.of(only)
    assert not signature.keywords_only
    for arguments in (
        {"a": 1},
        {"a": 1, "b": 9},
        {"d": 0, "a": 1, "c": 5},
        {"a": 1, "b": 2, "c": 3, "d": 4},
    ):
        args, kwargs = signature.positional(arguments)
        assert only(*args, **kwargs) == tuple(
            {"a": None, "b": 2, "c": 3, "d": 4, **arguments}.values()
        )

    def gap(a: int = 1, b: int = 2, /, **more: int) -> tuple[int, int, dict[str, int]]:
        return a, b, more

    args, kwargs = Signature.of(gap).positional({"b": 5, "z": 6})
    assert gap(*args, **kwargs) == (1, 5, {"z": 6})
    assert Signature.of(gap).positional({}) == ([], {})


def test_decorated_partial_and_method_signatures() -> None:
    @functools.wraps(task)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return task(*args, **kwargs)

    class Holder:
        @classmethod
        def of_class(cls, day: date) -> None: ...

        @staticmethod
        def static(day: "date") -> None: ...  # noqa: UP037

        def __call__(self, day: date) -> None: ...

    assert Signature.of(wrapper).text == "(x: int, y: int = 2)"
    assert Signature.of(wrapper).name == f"{__name__}:task"
    assert Signature.of(functools.partial(task, 1)).refuse({"y": 1}) is None
    assert Signature.of(functools.partial(task, y=1)).bind((5,), {}) == {"x": 5}
    for function in (Holder.of_class, Holder.static, Holder(), functools.partial(Holder.static)):
        assert Signature.of(function).converts
        assert Signature.of(function).text == "(day: date)"


def test_a_function_without_a_signature_takes_what_it_is_given() -> None:
    signature = Signature.of(builtins.max)
    assert signature.bind((), {"anything": 1}) == {"anything": 1}
    assert signature.refuse({"x": 1}) is None
    assert not signature.converts


def test_a_type_error_of_the_function_itself_is_no_bad_argument() -> None:
    signature = Signature.of(task)
    arguments = signature.convert(signature.bind(("a",), {}))
    with pytest.raises(TypeError):
        task(**arguments)


def test_annotations_that_cannot_be_resolved_are_ignored() -> None:
    signature = Signature.of(unresolvable)
    assert signature.convert({"a": 1, "b": [2], "c": "2024-01-02", "d": 3, "e": 4}) == {
        "a": 1,
        "b": [2],
        "c": date(2024, 1, 2),
        "d": 3,
        "e": 4,
    }
    assert parse_pairs(["a=1", "b=[2]", "d=x", "e=2"], signature) == {
        "a": 1,
        "b": "[2]",
        "d": "x",
        "e": 2,
    }
    nonsense: Any
    for nonsense in (5, {}, [], "", "1/0", {"a": 1}, ..., re.compile, list["Unknown"]):
        assert not annotated(nonsense).converts
        assert parse_pairs(["x=1"], annotated(nonsense)) == {"x": 1}


# --- JSON -> annotated types

CONVERTED = [
    (datetime, "2024-01-02T03:04:05", datetime(2024, 1, 2, 3, 4, 5)),
    (datetime, "2024-01-02T03:04:05Z", datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone.utc)),
    (date, "2024-01-02", date(2024, 1, 2)),
    (time, "03:04:05", time(3, 4, 5)),
    (timedelta, "PT90S", timedelta(seconds=90)),
    (Decimal, "1.50", Decimal("1.50")),
    (Decimal, 1.5, Decimal("1.5")),
    (UUID, "00000000-0000-0000-0000-000000000001", UUID(int=1)),
    (Color, "red", Color.RED),
    (Size, 2, Size.BIG),
    (Path, "a/b", Path("a/b")),
    (set, [1, 2], {1, 2}),
    (frozenset[int], [1, 2], frozenset({1, 2})),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, date], [1, "2024-01-02"], (1, date(2024, 1, 2))),
    (bytes, "YQ==", b"a"),
    (Point, {"x": 1, "on": "2024-01-02"}, Point(1, date(2024, 1, 2))),
    (Model, {"day": "2024-01-02", "count": "3"}, Model(day=date(2024, 1, 2), count=3)),
    (Typed, {"day": "2024-01-02"}, {"day": date(2024, 1, 2)}),
    (Pair, [1, "b"], Pair(1, "b")),
    (Struct, {"a": 1}, Struct(1)),
    (list[Model], [{"day": "2024-01-02"}], [Model(day=date(2024, 1, 2))]),
    (dict[int, Path], {"1": "p"}, {1: Path("p")}),
    (Optional[date], "2024-01-02", date(2024, 1, 2)),
    (Optional[date], None, None),
    (Model | None, {"day": "2024-01-02"}, Model(day=date(2024, 1, 2))),
    (Union[datetime, str], "2024-01-02T03:04:05", datetime(2024, 1, 2, 3, 4, 5)),
    (Union[datetime, str], "soon", "soon"),
    (Union[Model, Other], {"other": 1}, Other(other=1)),
    (Union[Model, int], 5, 5),
    (Annotated[date, "a day"], "2024-01-02", date(2024, 1, 2)),
    ("date | None", "2024-01-02", date(2024, 1, 2)),
]


@pytest.mark.parametrize(("kind", "value", "expected"), CONVERTED)
def test_convert_makes_what_annotations_ask_for(kind: Any, value: Any, expected: Any) -> None:
    signature = annotated(kind)
    assert signature.converts
    arguments = {"x": value}
    assert signature.convert(arguments) == {"x": expected}
    assert type(signature.convert(arguments)["x"]) is type(expected)
    assert arguments == {"x": value}
    assert signature.convert({}) == {}
    assert signature.convert(decode(encode({"x": expected}, {}))[0]) == {"x": expected}
    assert signature.convert({"x": expected}) == {"x": expected}


@pytest.mark.parametrize(
    "kind",
    [
        *(
            int,
            str,
            float,
            bool,
            None,
            Any,
            object,
            list,
            dict,
            list[int],
            dict[str, list[Any]],
            Optional[int],
        ),
        *(
            Literal["a", 1],
            int | str,
            UserId,
            Annotated[int, "count"],
            PositiveInt,
            Sequence[int],
            Iterable[str],
        ),
        *(
            re.Pattern,
            type[int],
            complex,
            Iterator[int],
            io.StringIO,
            "Unknown",
            Callable[[int], int],
        ),
    ],
)
def test_what_json_holds_itself_is_left_alone(kind: Any) -> None:
    signature = annotated(kind)
    assert not signature.converts
    assert signature.convert({"x": "as it is"}) == {"x": "as it is"}


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        (date, "soon", "x='soon' is not a date (parameter x: date of mymod:task): Invalid"),
        (Color, "green", "x='green' is not a Color (parameter x: Color of mymod:task)"),
        (Point, {"y": 1}, "Object missing required field `x`"),
        (Model, {"day": "2024-01-02", "count": -1}, "greater than 0"),
        (Path, 5, "x=5 is not a Path"),
        (set[int], ["a"], "x=['a'] is not a set[int]"),
        (Union[Model, Other], {"neither": "a" * 100}, "x={'neither': '" + "a" * 46 + "…"),
    ],
)
def test_what_cannot_be_converted_is_named(kind: Any, value: Any, sentence: str) -> None:
    with pytest.raises(BadArguments) as caught:
        annotated(kind).convert({"x": value})
    assert sentence in str(caught.value)


def test_a_models_validator_that_fails_in_its_own_way_is_a_bad_argument_too() -> None:
    @dataclasses.dataclass
    class Strange:
        x: int

        def __post_init__(self) -> None:
            raise KeyError("strange")

    with pytest.raises(BadArguments, match="is not a"):
        annotated(Strange).convert({"x": {"x": 1}})


# --- tokens of the shell


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[
            ("1", 1),
            ("-5", -5),
            ("0", 0),
            ("1.5", 1.5),
            ("1e3", 1000.0),
            ("-0.5E-2", -0.005),
            ("true", True),
        ],
        *[
            ("false", False),
            ("null", None),
            ("", ""),
            ("abc", "abc"),
            ("True", "True"),
            ("None", "None"),
        ],
        *[
            ("007", "007"),
            ("+1", "+1"),
            ("1_000", "1_000"),
            (" 1", " 1"),
            ("1.", "1."),
            (".5", ".5"),
            ("NaN", "NaN"),
        ],
        *[
            ("1e999", "1e999"),
            ("[1]", "[1]"),
            ('{"a":1}', '{"a":1}'),
            ("٣", "٣"),
            ("a=b:=c", "a=b:=c"),
            ("9" * 30, int("9" * 30)),
        ],
        *[
            ("line\nbreak", "line\nbreak"),
            ("9" * 5000, "9" * 5000),
            ("@@home", "@home"),
            ('"q"', '"q"'),
        ],
    ],
)
def test_without_an_annotation_text_is_guessed(text: str, value: Any) -> None:
    for signature in (None, annotated(Any), Signature.of(lambda x: x)):
        read = parse_pairs([f"x={text}"], signature)
        assert read == {"x": value}
        assert type(read["x"]) is type(value)


READ = [
    *[
        (int, "1", 1),
        (int, "-1", -1),
        (int, "007", 7),
        (int, "1_000", 1000),
        (UserId, "5", 5),
        (PositiveInt, "5", 5),
    ],
    *[(float, "1", 1.0), (float, "1.5", 1.5), (float, "1e3", 1000.0)],
    *[(bool, word, True) for word in ("true", "True", "yes", "1", "on", "ON")],
    *[(bool, word, False) for word in ("false", "no", "0", "off", "Off")],
    *[(str, text, text) for text in ("1", "true", "null", "", "abc", "[1]")],
    *[
        (Optional[int], "1", 1),
        (Optional[int], "null", None),
        (Optional[int], "None", None),
        (Optional[int], "", None),
    ],
    *[
        (Optional[str], "null", None),
        (Optional[str], "", ""),
        (Optional[str], "Null", "Null"),
        (None, "null", None),
    ],
    *[
        (int | str, "5", 5),
        (int | str, "five", "five"),
        (str | int, "5", "5"),
        (float | bool | None, "yes", True),
    ],
    *[
        (list, "[1]", [1]),
        (list[int], "[1, 2]", [1, 2]),
        (dict, '{"a": 1}', {"a": 1}),
        (dict[str, Any], "{}", {}),
    ],
    *[
        (tuple[int, str], '[1, "a"]', (1, "a")),
        (set[int], "[1]", {1}),
        (Iterable[str], '["a"]', ["a"]),
    ],
    *[(Sequence[int], "[1]", [1]), (list[date], '["2024-01-02"]', [date(2024, 1, 2)])],
    *[
        (Color, "red", Color.RED),
        (Color, "DEEP_BLUE", Color.DEEP_BLUE),
        (Size, "2", Size.BIG),
        (Size, "BIG", Size.BIG),
    ],
    *[(date, "2024-01-02", date(2024, 1, 2)), (datetime, "2024-01-02", datetime(2024, 1, 2))],
    *[(datetime, "2024-01-02 03:04", datetime(2024, 1, 2, 3, 4))],
    *[(datetime, "2024-01-02T03:04:05Z", datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone.utc))],
    *[
        (datetime, "1704164645", datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone.utc)),
        (time, "03:04", time(3, 4)),
    ],
    *[
        (timedelta, "90", timedelta(seconds=90)),
        (timedelta, "1h30m", timedelta(hours=1.5)),
        (timedelta, "PT90S", timedelta(seconds=90)),
        (timedelta, "-5", timedelta(seconds=-5)),
        (Decimal, "1.50", Decimal("1.50")),
        (UUID, str(UUID(int=1)), UUID(int=1)),
    ],
    *[
        (Path, "a b", Path("a b")),
        (bytes, "grüß", "grüß".encode()),
        (Literal["a", "b"], "b", "b"),
        (Literal[1, 2], "2", 2),
    ],
    *[
        (Literal["a", 1, True, None], "true", True),
        (Literal["a", None], "null", None),
        (Annotated[int, "n"], "5", 5),
    ],
    *[(Point, '{"x": 1}', Point(1)), (Model, '{"day": "2024-01-02"}', Model(day=date(2024, 1, 2)))],
    *[
        (Model | None, "null", None),
        (Struct, '{"a":1}', Struct(1)),
        (Pair, '[1, "b"]', Pair(1, "b")),
        (re.Pattern, "5", 5),
    ],
    *[("Unknown", "5", 5), ("int | None", "5", 5)],
]


@pytest.mark.parametrize(("kind", "text", "value"), READ)
def test_text_is_converted_by_its_annotation(kind: Any, text: str, value: Any) -> None:
    read = parse_pairs([f"x={text}"], annotated(kind))["x"]
    assert read == value
    assert type(read) is type(value)
    travelled = decode(encode({"x": read}, {}))[0]
    assert annotated(kind).convert(travelled) == {"x": value}


@pytest.mark.parametrize(
    ("kind", "text", "sentence"),
    [
        (int, "abc", "x='abc' is not an int (parameter x: int of mymod:task)"),
        (int, "1.5", "x='1.5' is not an int"),
        (int, "", "x='' is not an int"),
        (float, "nan", "x='nan' is not a float"),
        (
            bool,
            "maybe",
            "is not a bool (parameter x: bool of mymod:task): write one of true, yes, on, 1, false",
        ),
        (Optional[int], "abc", "x='abc' is not an "),
        (list[int], "1,2", "is not a list[int]"),
        (dict[Color, Literal["a.b"]], "1", "is not a dict[Color, Literal['a.b']]"),
        (list[Point] | None, "1", "is not a list[Point] | None"),
        (list[int], '["a"]', "Expected `int`, got `str`"),
        (date, "tomorrow", "is not a date"),
        (Decimal, "abc", "is not a Decimal (parameter x: Decimal of mymod:task)"),
        (Color, "green", "write one of RED, DEEP_BLUE, red, blue"),
        (Literal["a", "b"], "c", "write one of a, b"),
        (Model, '{"day": "never"}', "is not a "),
        (Model, "day", "is not a "),
        (None, "x", "x='x' is not a"),
        (int, "9" * 5000, f"x='{'9' * 58}… is not an int"),
    ],
)
def test_text_that_does_not_fit(kind: Any, text: str, sentence: str) -> None:
    with pytest.raises(BadArguments) as caught:
        parse_pairs([f"x={text}"], annotated(kind))
    assert sentence in str(caught.value)


def test_json_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("5\n")
    Path("data.json").write_text('{"a": [1]}\n')
    Path("raw").write_bytes(b"\xff")
    assert parse_pairs(['x:={"a": [1, null]}', "y:=5", 'z:="5"']) == {
        "x": {"a": [1, None]},
        "y": 5,
        "z": "5",
    }
    assert parse_pairs(["x=@text", "y:=@data.json", "z=@@text"]) == {
        "x": "5\n",
        "y": {"a": [1]},
        "z": "@text",
    }
    assert parse_pairs(["x=@text"], annotated(int)) == {"x": 5}
    assert parse_pairs(["x=@text"], annotated(str)) == {"x": "5\n"}
    assert parse_pairs(["x=@data.json"], annotated(dict)) == {"x": {"a": [1]}}
    assert parse_pairs(["x=@raw"], annotated(bytes)) == {"x": b"\xff"}
    for token, sentence in (
        (
            "x=@nothing",
            (
                r"x=@nothing: cannot read the file \(No such file or directory\)\. For text write"
                r" x=@@nothing"
            ),
        ),
        ("x=@.", "cannot read the file"),
        ("x=@raw", "the file is not UTF-8 text"),
        ("x:=@text5", "cannot read the file"),
        ("x:=@raw", "is not JSON"),
        ("x:={", "is not JSON"),
        ("x:=abc", "x:=abc is not JSON .* for text write x="),
        ("x:=NaN", "is not JSON"),
        ("x:=" + "[" * 100_000, "is not JSON"),
    ):
        with pytest.raises(UsageError, match=sentence):
            parse_pairs([token])
    with Path("huge").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(UsageError, match="Pass the file's path instead"):
        parse_pairs(["x=@huge"])


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        (
            ["5"],
            "'5' is not an argument: write x=5. The parameters of m:task are (x: int, y: int = 2).",
        ),
        (["x=1", "5"], "write y=5"),
        (["x=1", "y=2", "5"], "write name=5"),
        (["x=1", "--y=2"], "options of fb are not arguments; an argument is written y=2"),
        (["--y"], "an argument is written y=VALUE"),
        (["x", "=", "1"], "write x=VALUE"),
        (["x =1"], "'x =1' is not an argument"),
        (["=1"], "is not an argument"),
        ([""], "is not an argument"),
        (["x=1", "x=2"], "'x' is given twice"),
        (["x=1", "x:=2"], "'x' is given twice"),
        (["extra:={}"], "'extra' cannot be an argument"),
    ],
)
def test_tokens_that_are_no_arguments(tokens: list[str], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_pairs(tokens, Signature.of(task, "m:task"))
    assert sentence in str(caught.value)


def test_names_without_a_signature_may_be_those_of_other_languages() -> None:
    assert parse_pairs(["user-id=1", "a.b=2", "名=3"]) == {"user-id": 1, "a.b": 2, "名": 3}
    with pytest.raises(UsageError, match="write name=5"):
        parse_pairs(["5"])


@given(st.dictionaries(NAMES, JSON, max_size=5))
def test_json_tokens_survive_parse_encode_decode(arguments: dict[str, Any]) -> None:
    tokens = [f"{name}:={json.dumps(value)}" for name, value in arguments.items()]
    assert parse_pairs(tokens) == arguments
    assert decode(encode(parse_pairs(tokens), {}))[0] == arguments


@given(NAMES, TEXT)
def test_text_survives_where_text_is_asked_for(name: str, text: str) -> None:
    def function(**texts: str) -> None: ...

    token = f"{name}={'@' if text.startswith('@') else ''}{text}"
    assert parse_pairs([token], Signature.of(function)) == {name: text}


@given(TEXT)
def test_guessing_never_fails_and_changes_numbers_only(text: str) -> None:
    value = parse_pairs([f"x=@{text}" if text.startswith("@") else f"x={text}"])["x"]
    assert value == text or value == json.loads(text)


@given(st.dictionaries(NAMES, JSON, max_size=4), st.integers(0, 4))
def test_bound_arguments_reach_the_function_as_they_were(
    arguments: dict[str, Any], by_position: int
) -> None:
    source = (
        f"def function({', '.join(arguments)}): return"
        f" dict({', '.join(f'{name}={name}' for name in arguments)})"
    )
    scope: dict[str, Any] = {}
    if any(not name.isidentifier() or name in ("def",) for name in arguments):
        return
    try:
        exec(source, scope)
    except SyntaxError:  # a keyword
        return
    values = list(arguments.values())
    rest = dict(list(arguments.items())[by_position:])
    bound = Signature.of(scope["function"]).bind(tuple(values[:by_position]), rest)
    assert scope["function"](**decode(encode(bound, {}))[0]) == arguments


# --- templates


def test_templates_are_expanded_before_they_are_read() -> None:
    def function(
        n: int, name: str, f: float = 0.0, data: Any = None, flag: bool = False
    ) -> None: ...

    template = Template(
        [
            "flag=yes",
            "n={{Count}}",
            "name={{Index}}",
            "f={{Count}}.5",
            'data:=[{{Count}}, "{{Index}}"]',
        ],
        Signature.of(function),
    )
    assert template.varies
    first, second = template.expand(2)
    assert first == {"flag": True, "n": 1, "name": "0", "f": 1.5, "data": [1, "0"]}
    assert second == {"flag": True, "n": 2, "name": "1", "f": 2.5, "data": [2, "1"]}
    assert list(first) == ["flag", "n", "name", "f", "data"]


def test_templates_without_a_signature() -> None:
    [first] = Template(
        ["n={{ Count }}", "s=user-{{Count}}-{{Index}}", "t={{Count}}{{Index}}", "f=5"]
    ).expand()
    assert first == {"n": 1, "s": "user-1-0", "t": 10, "f": 5}
    assert not Template(["f=5", "g={}", "h={a}}"]).varies
    assert list(Template([]).expand(2)) == [{}, {}]
    assert list(Template(["f=5"]).expand(0)) == []


def test_every_template(tmp_path: Path) -> None:
    (tmp_path / "2.txt").write_text("two {{Count}}")
    template = Template(
        [
            "id={{ID}}",
            "other={{ID}}",
            "at={{TimeStamp}}",
            "unix={{Unix}}",
            "dice={{Random 1 6}}",
            "below={{Random -3 -3}}",
            f"text=@{tmp_path}/{{{{Count}}}}.txt",
        ]
    )
    (tmp_path / "1.txt").write_text("one")
    many = list(template.expand(2))
    assert len({each[key] for each in many for key in ("id", "other")}) == 4
    assert all(UUID(each["id"]).version == 7 for each in many)
    assert abs(datetime.fromisoformat(many[0]["at"]).timestamp() - clock.time()) < 60
    assert abs(many[0]["unix"] - clock.time()) < 60
    assert many[0]["below"] == -3
    assert [each["text"] for each in many] == ["one", "two {{Count}}"]
    assert {each["dice"] for each in Template(["dice={{Random 1 6}}"]).expand(1000)} == {
        1,
        2,
        3,
        4,
        5,
        6,
    }


def test_templates_fit_annotations_or_say_so() -> None:
    [at] = Template(["x={{TimeStamp}}"], annotated(datetime)).expand()
    assert at["x"].tzinfo is timezone.utc
    assert next(Template(["x={{Count}}"], annotated(UserId)).expand()) == {"x": 1}
    assert next(Template(["x={{Count}}"], annotated(Optional[int])).expand()) == {"x": 1}
    assert next(Template(["x={{Count}}"], annotated(bool)).expand()) == {"x": True}
    with pytest.raises(BadArguments, match="x='a1' is not an int"):
        next(Template(["x=a{{Count}}"], annotated(int)).expand())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "{{Conut}}",
            "There is no template {{Conut}}. Did you mean 'Count'? Known are {{Count}}, {{Index}}",
        ),
        ("a{{}}b", "There is no template {{}}"),
        ("{{Count 5}}", "There is no template {{Count 5}}"),
        ("{{Random}}", "{{Random 10 100}}"),
        ("{{Random 5 1}}", "There is no template {{Random 5 1}}"),
        ("{{Random a b}}", "There is no template {{Random a b}}"),
    ],
)
def test_unknown_templates(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        Template([f"x={text}"])
    assert sentence in str(caught.value)
