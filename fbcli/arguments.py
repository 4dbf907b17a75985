"""Arguments in, checked against a function's signature: from Python calls, the shell, and from messages.

Knows signatures and text, nothing of addresses, options or brokers. Three parts: `Signature`; how text and JSON become an
annotated type; tokens of the shell (`parse_pairs`, `Template`). Files of records: `fbcli.records`.
"""

from __future__ import annotations

import difflib
import inspect
import math
import os
import re
import types
import typing
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import PurePath
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import inspect as shapes

from fbcli.clock import SYSTEM
from fbcli.errors import BadArguments, UsageError, did_you_mean
from fbcli.message import EXTRA, MAX_BYTES, new_task_id

_EMPTY = inspect.Parameter.empty
_REMEMBERED = 1000
"""Different sets of argument names that are remembered as fitting; a function with `**kwargs` may see any number."""

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_CONSTANTS = {"true": True, "false": False, "null": None}
_BOOLEANS = {**dict.fromkeys(("true", "yes", "on", "1"), True), **dict.fromkeys(("false", "no", "off", "0"), False)}


class Signature:
    """What a function accepts. `bind` serves the publisher, `refuse`, `convert` and `positional` the consumer."""

    __slots__ = (
        "_by_position",
        "_converters",
        "_fitting",
        "_parameters",
        "_positional_only",
        "_readers",
        "_required",
        "_takes_any",
        "converts",
        "keywords_only",
        "name",
    )

    def __init__(self, name: str, parameters: Iterable[inspect.Parameter]) -> None:
        """Note: annotations are those resolved by `Signature.of`; `name` is what error messages call the function."""
        given = list(parameters)
        self.name = name
        self._parameters = {each.name: each for each in given if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}
        if EXTRA in self._parameters:
            raise UsageError(f"{name} has a parameter {EXTRA!r}, a name that messages reserve: call it something else.")
        named = self._parameters.values()
        self._takes_any = next((each for each in given if each.kind is each.VAR_KEYWORD), None)
        self._by_position = [each.name for each in named if each.kind is not each.KEYWORD_ONLY]
        self._positional_only = [each for each in named if each.kind is each.POSITIONAL_ONLY]
        self._required = [each.name for each in named if each.default is _EMPTY]
        self._fitting: set[tuple[str, ...]] = set()
        self._readers: dict[str, Callable[[str], Any]] = {}
        converters = ((each.name, _converter(each.annotation)) for each in named)
        self._converters = [(name, converter) for name, converter in converters if converter is not None]
        self.converts = bool(self._converters)
        """Whether any parameter's annotation needs `convert`; else the hot path skips it."""
        self.keywords_only = not self._positional_only
        """Whether `function(**arguments)` is the right call; else it takes `positional(arguments)`."""

    @classmethod
    def of(cls, function: Callable[..., Any], name: str | None = None) -> Signature:
        """Return the signature of a function; one that has none to show (some builtins) accepts any names.

        `name` (default: its module and qualified name) is what error messages call it. Annotations that cannot be resolved
        are ignored. Raises `UsageError` when a parameter is called `extra`.
        """
        if name is None:
            named = inspect.unwrap(function)
            name = f"{getattr(named, '__module__', '?')}:{getattr(named, '__qualname__', repr(named))}"
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            return cls(name, [inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)])
        scope = _globals_of(function)
        return cls(name, [each.replace(annotation=_resolved(each.annotation, scope)) for each in parameters])

    @property
    def text(self) -> str:
        """The parameters as a person writes them: `(x: int, y: int = 2)`."""
        shown = [
            each.replace(
                annotation=each.annotation if each.annotation is _EMPTY else _Shown(_type_text(each.annotation)),
                default=each.default if each.default is _EMPTY else _Shown(_shortened(repr(each.default), 30)),
            )
            for each in [*self._parameters.values(), *([self._takes_any] if self._takes_any else [])]
        ]
        return str(inspect.Signature(shown))

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by name; defaults are not filled in. Raises `BadArguments`."""
        if len(args) > len(self._by_position):
            raise BadArguments(
                f"{self.name} takes at most {len(self._by_position)} arguments by position, not {len(args)} "
                f"(those of *args cannot travel: pass a list); its parameters are {self.text}."
            )
        arguments = dict(zip(self._by_position, args, strict=False))
        if kwargs:
            if twice := arguments.keys() & kwargs.keys():
                raise BadArguments(f"{self.name} got {_listed(twice)} twice, by position and by name.")
            arguments.update(kwargs)
        if EXTRA in arguments:
            raise BadArguments(f"{EXTRA!r} cannot be an argument: messages reserve the name.")
        if sentence := self.refuse(arguments):
            raise BadArguments(sentence)
        return arguments

    def refuse(self, arguments: Mapping[str, Any]) -> str | None:
        """Return None when the function accepts arguments of these names, else a sentence that says why not."""
        names = tuple(arguments)
        return None if names in self._fitting else self._judge(names)

    def _judge(self, names: tuple[str, ...]) -> str | None:
        missing = [name for name in self._required if name not in names]
        unknown = [name for name in names if name not in self._parameters] if self._takes_any is None else []
        if not missing and not unknown:
            if len(self._fitting) < _REMEMBERED:
                self._fitting.add(names)
            return None
        faults = [f"needs {_listed(missing)}"] if missing else []
        hint = ""
        if unknown:
            faults.append(f"takes no {_listed(unknown)}")
            hint = did_you_mean(unknown[0], [name for name in self._parameters if name not in names])
        has = f"its parameters are {self.text}" if self._parameters else "it has no parameters"
        return f"{self.name} {' and '.join(faults)}; {has}.{hint}"

    def convert(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments with JSON values turned into the types that annotations ask for.

        Those are types that JSON lacks: datetime, date, Decimal, UUID, Enum, Path, set, tuple, bytes, dataclasses, pydantic
        models and the like; a plain `int` is not checked, as Python does not. Raises `BadArguments`.
        """
        converted = arguments.copy()
        for name, converter in self._converters:
            if name in converted:
                try:
                    converted[name] = converter(converted[name])
                except Exception as error:
                    raise self._unfit(name, repr(converted[name]), error) from error
        return converted

    def positional(self, arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return (args, kwargs) of the call, for a function with positional-only parameters."""
        rest = dict(arguments)
        given = [index for index, each in enumerate(self._positional_only) if each.name in rest]
        first = self._positional_only[: given[-1] + 1] if given else []
        return [rest.pop(each.name, each.default) for each in first], rest

    def read(self, name: str, text: str) -> Any:
        """Return the value that `text` (of the shell, of a CSV cell) has for parameter `name`. Raises `BadArguments`."""
        if (reader := self._readers.get(name)) is None:
            parameter = self.parameter(name)
            reader = _reader(parameter.annotation) if parameter else _guess
            if len(self._readers) < _REMEMBERED:
                self._readers[name] = reader
        try:
            return reader(text)
        except Exception as error:
            raise self._unfit(name, repr(text), error) from error

    def parameter(self, name: str) -> inspect.Parameter | None:
        """Return the parameter that takes an argument of this name, its annotation resolved; None when there is none."""
        return self._parameters.get(name, self._takes_any)

    def how_to_write(self, token: str, given: Iterable[str]) -> str:
        """Return the `name=value` that a bare token of the shell was probably meant as."""
        free = [name for name in self._parameters if name not in given]
        close = difflib.get_close_matches(token, free, n=1)
        return f"{close[0]}=VALUE" if close else f"{free[0] if free else 'name'}={token}"

    def _unfit(self, name: str, value: str, error: Exception) -> BadArguments:
        parameter = self.parameter(name)
        wanted = _type_text(parameter.annotation) if parameter else "value"
        shows = isinstance(error, msgspec.DecodeError | LookupError)
        reason = f": {_shortened(' '.join(str(part) for part in error.args), 200)}" if shows else ""
        return BadArguments(
            f"{name}={_shortened(value, 60)} is not {'an' if wanted[0] in 'aeiouAEIOU' else 'a'} {wanted} "
            f"(parameter {name}: {wanted} of {self.name}){reason}"
        )


class _Shown:
    """Text that `str(inspect.Signature)` prints as it is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _listed(names: Iterable[str]) -> str:
    return " and ".join(repr(name) for name in names)


def _shortened(text: str, size: int) -> str:
    return text if len(text) <= size else f"{text[: size - 1]}…"


def _type_text(annotation: Any) -> str:
    """Return a type as a person writes it: `Color | None`, without the modules that it comes from."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return re.sub(r"(?<![\w.'\"])(?:[^\W\d]\w*\.|<locals>\.)+", "", inspect.formatannotation(annotation))


def _globals_of(function: Any) -> dict[str, Any]:
    while True:
        inner = getattr(function, "__wrapped__", None) or getattr(function, "__func__", None)
        inner = inner or (function.func if isinstance(function, partial) else None)
        if inner is None:
            return getattr(function, "__globals__", None) or getattr(type(function).__call__, "__globals__", {})
        function = inner


def _resolved(annotation: Any, scope: dict[str, Any]) -> Any:
    """Return the type that an annotation means, forward references followed; empty when it cannot be told."""
    if annotation is _EMPTY or annotation in (str, int, float, bool):
        return annotation
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, scope, include_extras=True)["it"]
    except Exception:  # noqa: BLE001 - evaluating an annotation may raise anything; then it is as if there were none
        return _EMPTY


# --- text and JSON -> annotated types


def _guess(text: str) -> Any:
    """Return what text means without an annotation: JSON if it is a number, true, false or null, else the text."""
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
    """Return a date, time or datetime written in ISO 8601 as Python reads it, in RFC 3339, or in Unix seconds."""
    text = text.strip()
    try:
        return kind.fromisoformat(f"{text[:-1]}+00:00" if text.endswith("Z") else text)
    except ValueError:
        return msgspec.convert(text, kind, strict=False)


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
        except (ValueError, TypeError, LookupError):
            continue
    raise ValueError("no type of the union fits")


def _from_json(kind: Any, value: Any) -> Any:
    """Return a JSON value as `kind`; types of others are checked by themselves. Raises `msgspec.ValidationError`."""
    return msgspec.convert(value, kind, strict=False, dec_hook=_make)


def _make(kind: type[Any], value: Any) -> Any:
    if isinstance(value, kind):
        return value
    return kind(value) if issubclass(kind, PurePath) else kind.model_validate(value)


_READERS: dict[Any, Callable[[str], Any]] = {
    **{_EMPTY: _guess, Any: _guess, object: _guess, str: str, int: int, float: _finite, bool: _boolean, bytes: str.encode},
    **{kind: partial(_moment, kind) for kind in (date, time, datetime)},
    **{kind: partial(_from_json, kind) for kind in (Decimal, UUID, timedelta)},
    types.NoneType: partial(_null, ("null", "None", "")),
}


def _reader(kind: Any) -> Callable[[str], Any]:
    """Return what reads text as the annotation says, and raises `ValueError`, `TypeError` or `LookupError` if it cannot."""
    kind = _bare(kind)
    if isinstance(kind, Hashable) and kind in _READERS:
        return _READERS[kind]
    if members := _members(kind):
        readers = [_reader(member) for member in members if member is not types.NoneType]
        if len(readers) < len(members):
            readers = [partial(_null, ("null", "None")), *readers, partial(_null, ("",))]
        return partial(_first_fitting, readers)
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        return partial(_one_of, {str(each): each for each in choices} | {_words(each): each for each in choices})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return partial(_one_of, {**kind.__members__, **{str(each.value): each for each in kind}})
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return kind
    if _needs_conversion(kind) is None:
        return _guess
    return lambda text: _from_json(kind, msgspec.json.decode(text))


def _converter(kind: Any) -> Callable[[Any], Any] | None:
    """Return what turns a JSON value into the annotated type; None when there is nothing to do, or no way to do it."""
    needed = _needs_conversion(kind)
    if needed:
        return partial(_from_json, kind)
    members = _members(_bare(kind))
    if needed is None and any(_needs_conversion(member) for member in members):  # a union that msgspec does not know
        known = [member for member in members if _needs_conversion(member) is not None]
        return partial(_first_fitting, [partial(_from_json, member) for member in known])
    return None


def _needs_conversion(kind: Any) -> bool | None:
    """Return whether JSON has no values of this type; None for one that nothing here can make from JSON."""
    if kind is _EMPTY or kind is Any:
        return False
    try:
        return _is_beyond_json(shapes.type_info(_bare(kind)))
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
    plain = shapes.AnyType | shapes.NoneType | shapes.BoolType | shapes.IntType | shapes.FloatType | shapes.StrType
    return not isinstance(shape, plain | shapes.LiteralType)


def _bare(kind: Any) -> Any:
    """Return the type behind `Annotated`, `NewType` and `type X = …`; `Iterable[int]` is taken as `list[int]`."""
    if typing.get_origin(kind) is typing.Annotated:
        return _bare(typing.get_args(kind)[0])
    if type(kind).__name__ == "TypeAliasType":
        return _bare(kind.__value__)
    if typing.get_origin(kind) is Iterable:
        return types.GenericAlias(list, typing.get_args(kind))
    return _bare(kind.__supertype__) if hasattr(kind, "__supertype__") else kind


def _members(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else ()


def _words(value: object) -> str:
    return msgspec.json.encode(value).decode()


# --- tokens of the shell


def parse_pairs(tokens: Iterable[str], signature: Signature | None = None) -> dict[str, Any]:
    """Return the arguments that tokens of the shell write: `key=text`, `key:=json`, `key=@file`, `key:=@file.json`.

    Text is converted as the annotation says, without one: JSON if it is a number, true, false or null, else text.
    `key=@@text` is text that begins with an @. A relative file is taken from the current folder.
    Raises `UsageError` for a token that is none of these, a key given twice, a file that cannot be read; `BadArguments`
    for text that does not fit its annotation. Whether the names fit is for `Signature.bind` to say.
    """
    return {key: _value(key, form, text, signature) for key, form, text in _split(tokens, signature)}


class Template:
    """Tokens with `{{…}}` in their values, for many messages: expanded as text first, then read as `parse_pairs` does.

    `{{Count}}` 1, 2, … · `{{Index}}` 0, 1, … · `{{ID}}` a UUIDv7 · `{{TimeStamp}}` ISO 8601, UTC · `{{Unix}}` seconds ·
    `{{Random 10 100}}` a whole number from 10 to 100. A file's name may hold them; in its text they stay as they are.
    """

    __slots__ = ("_fixed", "_varying")

    def __init__(self, tokens: Iterable[str], signature: Signature | None = None) -> None:
        """Raises as `parse_pairs` does, and `UsageError` for a template that there is not."""
        self._fixed: dict[str, Any] = {}
        self._varying: list[tuple[str, Callable[[int], Any]]] = []
        for key, form, text in _split(tokens, signature):
            pieces = _pieces(text)
            if len(pieces) == 1 and isinstance(pieces[0], str):
                self._fixed[key] = _value(key, form, text, signature)
            else:
                self._fixed[key] = None  # keeps its place
                self._varying.append((key, _varying(key, form, pieces, signature)))

    @property
    def varies(self) -> bool:
        """Whether any value holds a template."""
        return bool(self._varying)

    def expand(self, count: int = 1) -> Iterator[dict[str, Any]]:
        """Yield the arguments of `count` messages. Raises `BadArguments` when an expanded text does not fit."""
        for index in range(count):
            arguments = self._fixed.copy()
            for key, make in self._varying:
                arguments[key] = make(index)
            yield arguments


_TOKEN = re.compile(r"(\w[\w.-]*)(:?=)(.*)", re.DOTALL)
_PLACE = re.compile(r"(\{\{.*?\}\})")
_PLACES: dict[str, Callable[[int], object]] = {
    "Count": lambda index: index + 1,
    "Index": lambda index: index,
    "ID": lambda index: new_task_id(),
    "TimeStamp": lambda index: datetime.fromtimestamp(SYSTEM.now(), timezone.utc).isoformat(),
    "Unix": lambda index: int(SYSTEM.now()),
}


def _split(tokens: Iterable[str], signature: Signature | None) -> Iterator[tuple[str, str, str]]:
    """Yield the key, form (`=`, `:=`, `=@`, `:=@`) and text of each token."""
    keys: set[str] = set()
    for token in tokens:
        match = _TOKEN.fullmatch(token)
        if match is None:
            if token.startswith("-"):
                right = f"options of fb are not arguments; an argument is written {token.lstrip('-') or 'name'}".rstrip("=")
                right += "" if "=" in token else "=VALUE"
            else:
                right = "write " + (signature.how_to_write(token, keys) if signature else f"name={token}")
            where = f" The parameters of {signature.name} are {signature.text}." if signature else ""
            raise UsageError(f"{token!r} is not an argument: {right}.{where}")
        key, form, text = match.groups()
        if key in keys:
            raise UsageError(f"{key!r} is given twice.")
        if key == EXTRA:
            raise UsageError(
                f"{key!r} cannot be an argument: messages reserve the name; per-message options are options of fb."
            )
        keys.add(key)
        if form == "=" and text.startswith("@@"):
            yield key, form, text[1:]
        elif text.startswith("@"):
            yield key, f"{form}@", text[1:]
        else:
            yield key, form, text


def _value(key: str, form: str, text: str, signature: Signature | None) -> Any:
    if form == "=":
        return signature.read(key, text) if signature else _guess(text)
    if form == ":=":
        return _json(key, text, f"for text write {key}=…")
    content = _content(key, text)
    if form == ":=@":
        return _json(key, content, f"read from {text}")
    parameter = signature.parameter(key) if signature else None
    kind = parameter.annotation if parameter else _EMPTY
    if kind is bytes:
        return content
    try:
        written = content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{key}=@{text}: the file is not UTF-8 text ({error}).") from None
    return written if signature is None or kind in (_EMPTY, str) else signature.read(key, written.strip())


def _json(key: str, text: str | bytes, advice: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        shown = text if isinstance(text, str) else text.decode(errors="replace")
        raise BadArguments(f"{key}:={_shortened(shown, 60)} is not JSON ({error}; {advice}).") from None


def _content(key: str, name: str) -> bytes:
    try:
        with open(os.path.expanduser(name), "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{key}=@{name}: cannot read the file ({reason}). For text write {key}=@@{name}.") from None
    if len(content) > MAX_BYTES:
        raise UsageError(f"{key}=@{name}: more than the {MAX_BYTES:,} bytes of a message. Pass the file's path instead.")
    return content


def _pieces(text: str) -> list[str | Callable[[int], object]]:
    """Return the text cut at its templates, of which each has become what makes its value from the message's index."""
    return [_place(part) if part.startswith("{{") else part for part in _PLACE.split(text) if part] or [""]


def _place(written: str) -> str | Callable[[int], object]:
    name, *bounds = written[2:-2].split() or [""]
    if name in _PLACES and not bounds:
        return _PLACES[name]
    if name == "Random" and len(bounds) == 2 and all(re.fullmatch(r"-?\d{1,18}", bound) for bound in bounds):
        low, high = map(int, bounds)
        if low <= high:
            return lambda index: low + int.from_bytes(os.urandom(16), "big") % (high - low + 1)
    known = [*_PLACES, "Random 10 100"]
    hint = did_you_mean(name, [*_PLACES, "Random"])
    raise UsageError(f"There is no template {written}.{hint} Known are {', '.join(f'{{{{{each}}}}}' for each in known)}.")


def _varying(
    key: str, form: str, pieces: Sequence[str | Callable[[int], object]], signature: Signature | None
) -> Callable[[int], Any]:
    """Return what makes the value of a message from its index."""
    parameter = signature.parameter(key) if signature else None
    kind = _bare(parameter.annotation) if parameter else _EMPTY
    first = pieces[0]
    if len(pieces) == 1 and not isinstance(first, str):
        if form == ":=" or (form == "=" and kind in (_EMPTY, int) and isinstance(first(0), int)):
            return first
        if form == "=" and kind is str:
            return lambda index: str(first(index))

    def make(index: int) -> Any:
        text = "".join([piece if isinstance(piece, str) else str(piece(index)) for piece in pieces])
        return _value(key, form, text, signature)

    return make
