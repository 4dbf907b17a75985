"""How text and JSON become a value of an annotated type."""

from __future__ import annotations

import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import PurePath
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import inspect as shapes

from fbcli.values.durations import parse_duration
from fbcli.values.encoding import json_text

NOT_ANNOTATED = inspect.Parameter.empty

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_CONSTANTS = {"true": True, "false": False, "null": None}
_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def guess(text: str) -> Any:
    """Return what text means without an annotation: JSON if it is a number, true, false or null,
    else the text."""
    if (match := _NUMBER.fullmatch(text)) is None:
        return _CONSTANTS.get(text, text)
    if match[1] is match[2] is None:
        return int(text) if len(text) < 1000 else text
    number = float(text)
    return number if math.isfinite(number) else text


def _boolean(text: str) -> Any:
    return _one_of(_BOOLEANS, text.strip().lower())


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError("JSON has no such number")
    return number


def _moment(kind: Any, text: str) -> Any:
    """Return a date, time or datetime written in ISO 8601 as Python reads it, in RFC 3339, or in
    Unix seconds."""
    text = text.strip()
    try:
        return kind.fromisoformat(f"{text[:-1]}+00:00" if text.endswith("Z") else text)
    except ValueError:
        return msgspec.convert(text, kind, strict=False)


def _duration(text: str) -> timedelta:
    """Return a duration written as everywhere in fbcli, or as JSON has it: in ISO 8601, or negative
    seconds."""
    try:
        return timedelta(seconds=parse_duration(text))
    except ValueError:
        return msgspec.convert(text, timedelta, strict=False)


def _one_of(table: Mapping[str, Any], text: str) -> Any:
    if text not in table:
        raise LookupError(f"write one of {', '.join(table)}")
    return table[text]


def _null(words: Sequence[str], text: str) -> None:
    if text not in words:
        raise ValueError("not null")


def _first_fitting(attempts: Sequence[Callable[[Any], Any]], value: Any) -> Any:
    for attempt in attempts:
        try:
            return attempt(value)
        except (ValueError, TypeError, LookupError, msgspec.MsgspecError):
            continue  # the last is a ValueError only since msgspec 0.21
    raise ValueError("no type of the union fits")


def _from_json(kind: Any, value: Any) -> Any:
    """Return a JSON value as `kind`; types of others are checked by themselves. Raises
    `msgspec.ValidationError`."""
    return msgspec.convert(value, kind, strict=False, dec_hook=_make)


def _make(kind: type[Any], value: Any) -> Any:
    if isinstance(value, kind):
        return value
    return kind(value) if issubclass(kind, PurePath) else kind.model_validate(value)


_READERS: dict[Any, Callable[[str], Any]] = {
    **{
        NOT_ANNOTATED: guess,
        Any: guess,
        object: guess,
        str: str,
        int: int,
        float: _finite,
        bool: _boolean,
        bytes: str.encode,
    },
    **{kind: partial(_moment, kind) for kind in (date, time, datetime)},
    **{kind: partial(_from_json, kind) for kind in (Decimal, UUID)},
    timedelta: _duration,
    types.NoneType: partial(_null, ("null", "None", "")),
}


def reader(kind: Any) -> Callable[[str], Any]:
    """Return what reads text as the annotation says, and raises `ValueError`, `TypeError`,
    `LookupError` or `msgspec.MsgspecError` if it cannot."""
    kind = bare(kind)
    if isinstance(kind, Hashable) and kind in _READERS:
        return _READERS[kind]
    if members := _members(kind):
        readers = [reader(member) for member in members if member is not types.NoneType]
        if len(readers) < len(members):
            readers = [partial(_null, ("null", "None")), *readers, partial(_null, ("",))]
        return partial(_first_fitting, readers)
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        return partial(
            _one_of,
            {str(each): each for each in choices} | {json_text(each): each for each in choices},
        )
    if isinstance(kind, type) and issubclass(kind, Enum):
        return partial(_one_of, {**kind.__members__, **{str(each.value): each for each in kind}})
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return kind
    if _needs_conversion(kind) is None:
        return guess
    return lambda text: _from_json(kind, msgspec.json.decode(text))


def converter(kind: Any) -> Callable[[Any], Any] | None:
    """Return what turns a JSON value into the annotated type; None when there is nothing to do, or
    no way to do it."""
    needed = _needs_conversion(kind)
    if needed:
        return partial(_from_json, kind)
    members = _members(bare(kind))
    if needed is None and any(
        _needs_conversion(member) for member in members
    ):  # a union that msgspec does not know
        known = [member for member in members if _needs_conversion(member) is not None]
        return partial(_first_fitting, [partial(_from_json, member) for member in known])
    return None


def _needs_conversion(kind: Any) -> bool | None:
    """Return whether JSON has no values of this type; None for one that nothing here can make from
    JSON."""
    if kind is NOT_ANNOTATED or kind is Any:
        return False
    try:
        return _is_beyond_json(shapes.type_info(bare(kind)))
    except Exception:  # noqa: BLE001 - whatever stands in an annotation is looked into here
        return None


def _is_beyond_json(shape: shapes.Type) -> bool:
    if isinstance(shape, shapes.CustomType):
        if not issubclass(shape.cls, PurePath) and not hasattr(shape.cls, "model_validate"):
            raise TypeError(shape.cls)
        return True
    if isinstance(shape, shapes.ListType):
        return _is_beyond_json(shape.item_type)
    if isinstance(shape, shapes.DictType):
        text_keys = isinstance(shape.key_type, shapes.StrType | shapes.AnyType)
        return _is_beyond_json(shape.value_type) or not text_keys
    if isinstance(shape, shapes.UnionType):
        return max(_is_beyond_json(each) for each in shape.types)
    plain = (
        shapes.AnyType
        | shapes.NoneType
        | shapes.BoolType
        | shapes.IntType
        | shapes.FloatType
        | shapes.StrType
    )
    return not isinstance(shape, plain | shapes.LiteralType)


def bare(kind: Any) -> Any:
    """Return the type behind `Annotated`, `NewType` and `type X = …`; `Iterable[int]` is taken as
    `list[int]`."""
    if typing.get_origin(kind) is typing.Annotated:
        return bare(typing.get_args(kind)[0])
    if type(kind).__name__ == "TypeAliasType":
        return bare(kind.__value__)
    if typing.get_origin(kind) is Iterable:
        return types.GenericAlias(list, typing.get_args(kind))
    return bare(kind.__supertype__) if hasattr(kind, "__supertype__") else kind


def _members(kind: Any) -> tuple[Any, ...]:
    return (
        typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else ()
    )
