"""Arguments checked against a function's signature: from Python calls, and from messages.

Knows signatures and text, nothing of addresses, options or brokers. Three parts: `Signature`; how
text and JSON become an annotated type; tokens of the shell (`parse_pairs`, `Template`). Files of
records: `fbcli.arguments.records`.
"""

from __future__ import annotations

import difflib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from fbcli.arguments.conversion import converter, guess, reader
from fbcli.errors import BadArguments, UsageError, did_you_mean
from fbcli.message import EXTRA

_EMPTY = inspect.Parameter.empty
_REMEMBERED = 1000
"""Different sets of argument names that are remembered as fitting; a function with `**kwargs` may
see any number."""


class Signature:
    """What a function accepts. `bind` serves the publisher, `refuse`, `convert` and `positional`
    the consumer."""

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
        """Note: annotations are those resolved by `Signature.of`; `name` is what error messages
        call the function."""
        given = list(parameters)
        self.name = name
        self._parameters = {
            each.name: each
            for each in given
            if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        }
        if EXTRA in self._parameters:
            raise UsageError(
                f"{name} has a parameter {EXTRA!r}, a name that messages reserve: call it something"
                " else."
            )
        named = self._parameters.values()
        self._takes_any = next((each for each in given if each.kind is each.VAR_KEYWORD), None)
        self._by_position = [each.name for each in named if each.kind is not each.KEYWORD_ONLY]
        self._positional_only = [each for each in named if each.kind is each.POSITIONAL_ONLY]
        self._required = [each.name for each in named if each.default is _EMPTY]
        self._fitting: set[tuple[str, ...]] = set()
        self._readers: dict[str, Callable[[str], Any]] = {}
        converters = ((each.name, converter(each.annotation)) for each in named)
        self._converters = [
            (name, converter) for name, converter in converters if converter is not None
        ]
        self.converts = bool(self._converters)
        """Whether any parameter's annotation needs `convert`; else the hot path skips it."""
        self.keywords_only = not self._positional_only
        """Whether `function(**arguments)` is the right call; else it takes `positional(arguments)`.
        """

    @classmethod
    def of(cls, function: Callable[..., Any], name: str | None = None) -> Signature:
        """Return the signature of a function; one that has none to show (some builtins) accepts any
        names.

        `name` (default: its module and qualified name) is what error messages call it. Annotations
        that cannot be resolved are ignored. Raises `UsageError` when a parameter is called `extra`.
        """
        if name is None:
            named = inspect.unwrap(function)
            name = (
                f"{getattr(named, '__module__', '?')}:{getattr(named, '__qualname__', repr(named))}"
            )
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            return cls(name, [inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)])
        scope = _globals_of(function)
        return cls(
            name,
            [each.replace(annotation=_resolved(each.annotation, scope)) for each in parameters],
        )

    @property
    def open(self) -> Signature:
        """A signature that accepts arguments of any names."""
        return Signature(self.name, [inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)])

    @property
    def rows(self) -> str:
        """The parameter that takes the list of a batch. Raises `UsageError` when there is not just
        one that can."""
        required = self._required or self._by_position[:1]
        if len(required) != 1 or self._positional_only:
            raise UsageError(
                f"{self.name}{self.text} cannot be called with batches: it must take one argument,"
                " the list of the messages' arguments."
            )
        return required[0]

    @property
    def text(self) -> str:
        """The parameters as a person writes them: `(x: int, y: int = 2)`."""
        shown = [
            each.replace(
                annotation=(
                    each.annotation
                    if each.annotation is _EMPTY
                    else _Shown(_type_text(each.annotation))
                ),
                default=(
                    each.default
                    if each.default is _EMPTY
                    else _Shown(shortened(repr(each.default), 30))
                ),
            )
            for each in [
                *self._parameters.values(),
                *([self._takes_any] if self._takes_any else []),
            ]
        ]
        return str(inspect.Signature(shown))

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by name; defaults are not filled in. Raises
        `BadArguments`."""
        if len(args) > len(self._by_position):
            raise BadArguments(
                f"{self.name} takes at most {len(self._by_position)} arguments by position, not"
                f" {len(args)} (those of *args cannot travel: pass a list); its parameters are"
                f" {self.text}."
            )
        arguments = dict(zip(self._by_position, args, strict=False))
        if kwargs:
            if twice := arguments.keys() & kwargs.keys():
                raise BadArguments(
                    f"{self.name} got {_listed(twice)} twice, by position and by name."
                )
            arguments.update(kwargs)
        if EXTRA in arguments:
            raise BadArguments(f"{EXTRA!r} cannot be an argument: messages reserve the name.")
        if sentence := self.refuse(arguments):
            raise BadArguments(sentence)
        return arguments

    def refuse(self, arguments: Mapping[str, Any]) -> str | None:
        """Return None when the function accepts arguments of these names, else a sentence that says
        why not."""
        names = tuple(arguments)
        return None if names in self._fitting else self._judge(names)

    def _judge(self, names: tuple[str, ...]) -> str | None:
        missing = [name for name in self._required if name not in names]
        unknown = (
            [name for name in names if name not in self._parameters]
            if self._takes_any is None
            else []
        )
        if not missing and not unknown:
            if len(self._fitting) < _REMEMBERED:
                self._fitting.add(names)
            return None
        faults = [f"needs {_listed(missing)}"] if missing else []
        hint = ""
        if unknown:
            faults.append(f"takes no {_listed(unknown)}")
            hint = did_you_mean(
                unknown[0], [name for name in self._parameters if name not in names]
            )
        has = f"its parameters are {self.text}" if self._parameters else "it has no parameters"
        return f"{self.name} {' and '.join(faults)}; {has}.{hint}"

    def convert(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments with JSON values turned into the types that annotations ask for.

        Those are types that JSON lacks: datetime, date, Decimal, UUID, Enum, Path, set, tuple,
        bytes, dataclasses, pydantic models and the like; a plain `int` is not checked, as Python
        does not. Raises `BadArguments`.
        """
        converted = arguments.copy()
        for name, convert in self._converters:
            if name in converted:
                try:
                    converted[name] = convert(converted[name])
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
        """Return the value that `text` (of the shell, of a CSV cell) has for parameter `name`.
        Raises `BadArguments`."""
        if (read := self._readers.get(name)) is None:
            parameter = self.parameter(name)
            read = reader(parameter.annotation) if parameter else guess
            if len(self._readers) < _REMEMBERED:
                self._readers[name] = read
        try:
            return read(text)
        except Exception as error:
            raise self._unfit(name, repr(text), error) from error

    def parameter(self, name: str) -> inspect.Parameter | None:
        """Return the parameter that takes an argument of this name, its annotation resolved; None
        when there is none."""
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
        reason = f": {shortened(' '.join(str(part) for part in error.args), 200)}" if shows else ""
        return BadArguments(
            f"{name}={shortened(value, 60)} is not {'an' if wanted[0] in 'aeiouAEIOU' else 'a'}"
            f" {wanted} (parameter {name}: {wanted} of {self.name}){reason}"
        )


class _Shown:
    """Text that `str(inspect.Signature)` prints as it is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _listed(names: Iterable[str]) -> str:
    return " and ".join(repr(name) for name in names)


def shortened(text: str, size: int) -> str:
    return text if len(text) <= size else f"{text[: size - 1]}…"


def _type_text(annotation: Any) -> str:
    """Return a type as a person writes it: `Color | None`, without the modules that it comes
    from."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return re.sub(
        r"(?<![\w.'\"])(?:[^\W\d]\w*\.|<locals>\.)+", "", inspect.formatannotation(annotation)
    )


def _globals_of(function: Any) -> dict[str, Any]:
    while True:
        inner = getattr(function, "__wrapped__", None) or getattr(function, "__func__", None)
        inner = inner or (function.func if isinstance(function, partial) else None)
        if inner is None:
            return getattr(function, "__globals__", None) or getattr(
                type(function).__call__, "__globals__", {}
            )
        function = inner


def _resolved(annotation: Any, scope: dict[str, Any]) -> Any:
    """Return the type that an annotation means, forward references followed; empty when it cannot
    be told."""
    if annotation is _EMPTY or annotation in (str, int, float, bool):
        return annotation
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, scope, include_extras=True)["it"]
    except Exception:  # noqa: BLE001 - evaluating an annotation may raise anything; then it is as if there were none
        return _EMPTY
