"""Any value as JSON, in one place: what travels (arguments), what is kept (results), what is told
(events, logs, `--json`).

JSON's own types, and what msgspec knows beside them (dates, Decimal, UUID, Enum, bytes, sets, data
classes), are written by it; `form` is the table for all else. The strict functions refuse what is
not in it; the lenient ones write its `repr`, never raise, and cut what is too long or too deep.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from enum import Enum
from math import isfinite
from typing import Any

import msgspec

LONGEST_REPR = 2_000
"""Characters of a `repr` that stands for a value without a JSON form."""

DEEPEST = 64
"""Levels of what is written leniently; below them values are shown by their `repr`."""

MOST_ITEMS = 1_000_000
"""Items of what is written leniently and has no JSON form as a whole; in place of the rest stands
`LEFT_OUT`."""

LEFT_OUT = "…"

_PLAIN = (str, int, bool, type(None), msgspec.Raw)
_LARGE = 1 << 63

Passing = tuple[type[BaseException], ...]
"""Errors that are not the value's, but thrown into the thread from outside: they pass."""


def form(value: object) -> object:
    """Return the one obvious JSON form of a value that msgspec does not know. Raises `TypeError`
    (or what the value's own code raises) where there is none."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    for plain in (str, int, float):  # classes derived from them
        if isinstance(value, plain):
            return plain(value)
    moment = getattr(value, "isoformat", None)  # of classes derived from date, time, datetime
    if callable(moment):
        return moment()
    dump = getattr(value, "model_dump", None)  # of pydantic
    if callable(dump):
        return dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set):
        return frozenset(value)
    if isinstance(value, Sequence) and not isinstance(value, list | tuple):  # those are keys here
        return list(value)
    as_list = getattr(value, "tolist", None)  # of NumPy's numbers and arrays
    if callable(as_list):
        return as_list()
    if hasattr(value, "__index__"):
        return operator.index(value)
    raise TypeError(f"no JSON form of {type(value).__name__}")


_encode = msgspec.json.Encoder().encode
_encode_forms = msgspec.json.Encoder(enc_hook=form).encode
_encode_sorted = msgspec.json.Encoder(enc_hook=form, order="deterministic").encode
_name = vars(type)["__name__"].__get__


def strict_json(value: object) -> bytes:
    """Return a value as JSON.

    Raises `TypeError`, `ValueError`, `OverflowError` or `RecursionError` when there is no form of
    it. Note: NaN and infinity become null; `odd_number` tells.
    """
    return _encode_forms(value)


def odd_number(value: object) -> float | None:
    """Return the first number in a value that has a JSON form which JSON cannot hold (NaN,
    infinity); None: there is none."""
    rest = [value]
    while rest:
        each = rest.pop()
        if isinstance(each, float):
            if not isfinite(each):
                return each
        elif isinstance(each, dict):
            rest.extend(each.values())
        elif isinstance(each, list | tuple | set | frozenset):
            rest.extend(each)
        elif not isinstance(each, _PLAIN):
            rest.append(msgspec.to_builtins(each, enc_hook=form))
    return None


def lenient_json(value: object, passing: Passing = ()) -> bytes:
    """Return a value as JSON, whatever it is."""
    return _leniently(value, _encode_forms, passing)


def json_text(value: object) -> str:
    """Return a value as JSON, whatever it is, as text."""
    return lenient_json(value).decode()


def stable_json(value: object) -> bytes:
    """Return the same JSON, whatever the value is, for all that are the same on the wire, in
    whatever order their items come."""
    return _leniently(value, _encode_sorted, ())


def _leniently(value: object, encode: Callable[[Any], bytes], passing: Passing) -> bytes:
    body = b""
    try:
        body = encode(value)
        fits = b"null" not in body or odd_number(value) is None  # null: what becomes of NaN
    except passing:
        raise
    except BaseException:  # noqa: BLE001  the value's own code has run
        fits = False
    return body if fits else encode(_Writer(passing).plain(value))


def embedded(value: object) -> Any:
    """Return a value fit to stand in a larger one, which then can be written strictly."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        if -_LARGE <= value < _LARGE:  # type: ignore[operator]
            return value
    elif kind is float:
        if isfinite(value):  # type: ignore[arg-type]
            return value
    elif kind is str and value.isascii():  # type: ignore[attr-defined]
        return value
    return msgspec.Raw(lenient_json(value))


def shown(value: object, passing: Passing = ()) -> str:
    """Return `repr(value)`, cut when it is long; or what can be said of a value whose `repr`
    fails."""
    try:
        text = in_utf8(repr(value))
    except passing:
        raise
    except BaseException:  # noqa: BLE001  the value's own code has run
        text = f"<{_name(type(value))} that cannot be shown>"
    return text if len(text) <= LONGEST_REPR else f"{text[: LONGEST_REPR - 1]}…"


def in_utf8(text: str) -> str:
    """Return text that can be written as UTF-8: names of files may hold bytes that are none (lone
    surrogates)."""
    return text if text.isascii() else str.encode(text, "utf-8", "backslashreplace").decode()


class _Writer:
    """Makes plain data of anything: what JSON has, and nothing else."""

    def __init__(self, passing: Passing) -> None:
        self._passing = passing
        self._left = MOST_ITEMS

    def plain(self, value: Any, depth: int = 0) -> Any:
        self._left -= 1
        try:
            return self._plain(value, depth)
        except self._passing:
            raise
        except BaseException:  # noqa: BLE001  the value's own code has run
            return shown(value, self._passing)

    def _plain(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if value is None or kind is bool or kind is msgspec.Raw:
            return value
        if kind is str:
            return in_utf8(value)
        if kind is float:
            return value if isfinite(value) else repr(value)
        if kind is int:
            _encode(value)  # Python refuses to write those of thousands of digits
            return value
        if depth > DEEPEST:
            return shown(value, self._passing)
        if isinstance(value, Enum):
            return self.plain(value.value, depth + 1)
        if isinstance(value, dict):
            return self._object(value.items(), depth)
        if isinstance(value, list | tuple):
            return self._array(value, depth)
        if isinstance(value, set | frozenset):
            return sorted(self._array(value, depth), key=_encode_sorted)
        fields = _fields(value)
        if fields is not None:
            return self._object(((name, getattr(value, name)) for name in fields), depth)
        try:
            return msgspec.to_builtins(value)  # what is written as text: a date, say, or bytes
        except TypeError:
            return self.plain(form(value), depth + 1)

    def _array(self, items: Iterable[Any], depth: int) -> list[Any]:
        written = []
        for item in items:
            if self._left <= 0:
                written.append(LEFT_OUT)
                break
            written.append(self.plain(item, depth + 1))
        return written

    def _object(self, items: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        written = {}
        for key, item in items:
            if self._left <= 0:
                written[LEFT_OUT] = LEFT_OUT
                break
            written[self._key(key)] = self.plain(item, depth + 1)
        return written

    def _key(self, key: Any) -> str:
        plain = in_utf8(key) if type(key) is str else self.plain(key)
        return plain if isinstance(plain, str) else _encode(plain).decode()


def _fields(value: Any) -> Sequence[str] | None:
    """Return the names of the fields of an object that msgspec writes as one; None: it is none."""
    kind = type(value)
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if hasattr(kind, "__dataclass_fields__"):
        import dataclasses  # noqa: PLC0415  slow to be imported, and there if there is one

        return [field.name for field in dataclasses.fields(kind)]
    attributes = getattr(kind, "__attrs_attrs__", None)
    return None if attributes is None else [attribute.name for attribute in attributes]
