"""Arguments as they are typed in a shell: `key=value`, `key:=json`, `key=@file`, and templates of
them for a series."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

import msgspec

from fbcli.arguments.conversion import NOT_ANNOTATED, bare, guess
from fbcli.arguments.signature import Signature, shortened
from fbcli.clock import SYSTEM
from fbcli.errors import BadArguments, UsageError, did_you_mean
from fbcli.message import EXTRA, MAX_BYTES, new_task_id


def parse_pairs(tokens: Iterable[str], signature: Signature | None = None) -> dict[str, Any]:
    """Return the arguments that tokens of the shell write: `key=text`, `key:=json`, `key=@file`,
    `key:=@file.json`.

    Text is converted as the annotation says, without one: JSON if it is a number, true, false or
    null, else text. `key=@@text` is text that begins with an @. A relative file is taken from the
    current folder. Raises `UsageError` for a token that is none of these, a key given twice, a file
    that cannot be read; `BadArguments` for text that does not fit its annotation. Whether the names
    fit is for `Signature.bind` to say.
    """
    return {
        key: _value(key, form, text, signature) for key, form, text in _split(tokens, signature)
    }


class Template:
    """Tokens with `{{…}}` in their values, for many messages: expanded as text first, then read as
    `parse_pairs` does.

    `{{Count}}` 1, 2, … · `{{Index}}` 0, 1, … · `{{ID}}` a UUIDv7 · `{{TimeStamp}}` ISO 8601, UTC ·
    `{{Unix}}` seconds · `{{Random 10 100}}` a whole number from 10 to 100. A file's name may hold
    them; in its text they stay as they are.
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
        """Yield the arguments of `count` messages. Raises `BadArguments` when an expanded text does
        not fit."""
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
                right = (
                    "options of fb are not arguments; an argument is written"
                    f" {token.lstrip('-') or 'name'}".rstrip("=")
                )
                right += "" if "=" in token else "=VALUE"
            else:
                right = "write " + (
                    signature.how_to_write(token, keys) if signature else f"name={token}"
                )
            where = (
                f" The parameters of {signature.name} are {signature.text}." if signature else ""
            )
            raise UsageError(f"{token!r} is not an argument: {right}.{where}")
        key, form, text = match.groups()
        if key in keys:
            raise UsageError(f"{key!r} is given twice.")
        if key == EXTRA:
            raise UsageError(
                f"{key!r} cannot be an argument: messages reserve the name; per-message options are"
                " options of fb."
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
        return signature.read(key, text) if signature else guess(text)
    if form == ":=":
        return _json(key, text, f"for text write {key}=…")
    content = _content(key, text)
    if form == ":=@":
        return _json(key, content, f"read from {text}")
    parameter = signature.parameter(key) if signature else None
    kind = parameter.annotation if parameter else NOT_ANNOTATED
    if kind is bytes:
        return content
    try:
        written = content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{key}=@{text}: the file is not UTF-8 text ({error}).") from None
    return (
        written
        if signature is None or kind in (NOT_ANNOTATED, str)
        else signature.read(key, written.strip())
    )


def _json(key: str, text: str | bytes, advice: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        shown = text if isinstance(text, str) else text.decode(errors="replace")
        raise BadArguments(
            f"{key}:={shortened(shown, 60)} is not JSON ({error}; {advice})."
        ) from None


def _content(key: str, name: str) -> bytes:
    try:
        with open(os.path.expanduser(name), "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{key}=@{name}: cannot read the file ({reason}). For text write {key}=@@{name}."
        ) from None
    if len(content) > MAX_BYTES:
        raise UsageError(
            f"{key}=@{name}: more than the {MAX_BYTES:,} bytes of a message. Pass the file's path"
            " instead."
        )
    return content


def _pieces(text: str) -> list[str | Callable[[int], object]]:
    """Return the text cut at its templates, of which each has become what makes its value from the
    message's index."""
    return [
        _place(part) if part.startswith("{{") else part for part in _PLACE.split(text) if part
    ] or [""]


def _place(written: str) -> str | Callable[[int], object]:
    name, *bounds = written[2:-2].split() or [""]
    if name in _PLACES and not bounds:
        return _PLACES[name]
    if (
        name == "Random"
        and len(bounds) == 2
        and all(re.fullmatch(r"-?\d{1,18}", bound) for bound in bounds)
    ):
        low, high = map(int, bounds)
        if low <= high:
            return lambda index: low + int.from_bytes(os.urandom(16), "big") % (high - low + 1)
    known = [*_PLACES, "Random 10 100"]
    hint = did_you_mean(name, [*_PLACES, "Random"])
    raise UsageError(
        f"There is no template {written}.{hint} Known are"
        f" {', '.join(f'{{{{{each}}}}}' for each in known)}."
    )


def _varying(
    key: str,
    form: str,
    pieces: Sequence[str | Callable[[int], object]],
    signature: Signature | None,
) -> Callable[[int], Any]:
    """Return what makes the value of a message from its index."""
    parameter = signature.parameter(key) if signature else None
    kind = bare(parameter.annotation) if parameter else NOT_ANNOTATED
    first = pieces[0]
    if len(pieces) == 1 and not isinstance(first, str):
        if form == ":=" or (
            form == "=" and kind in (NOT_ANNOTATED, int) and isinstance(first(0), int)
        ):
            return first
        if form == "=" and kind is str:
            return lambda index: str(first(index))

    def make(index: int) -> Any:
        text = "".join([piece if isinstance(piece, str) else str(piece(index)) for piece in pieces])
        return _value(key, form, text, signature)

    return make
