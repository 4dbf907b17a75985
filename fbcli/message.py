"""The wire format: a UTF-8 JSON object of the function's arguments by name, plus the reserved key
`extra`.

    {"x": 1, "y": 2, "extra": {"task_id": "0198…", "publish_time": 1701687443.3596}}

Everything in `extra` is optional, and so is `extra`: a program in any language that writes `{"x":
1}` is a publisher. Nothing of Python travels, never pickle: a message can name no code.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from fbcli.errors import BadMessage
from fbcli.values.encoding import lenient_json, odd_number, strict_json

EXTRA = "extra"

MAX_BYTES = 4 * 1024 * 1024
"""Largest body accepted at push. Larger data belongs into a file or an object store, its path into
the message."""

ROOM_FOR_EXTRA = 256 * 1024
"""Bytes a body may have beyond `MAX_BYTES` at consume: a dead letter's reason and traceback are
added to a full one."""

MAX_DEPTH = 64
"""Deepest nesting of lists and objects accepted, the message itself counted."""

_JSON_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_PARENTHESES = bytes.maketrans(b"[]{}", b"()()")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def new_task_id() -> str:
    """Return a UUIDv7 (RFC 9562): sorts by the time it was made, in milliseconds; 74 random
    bits."""
    random = int.from_bytes(os.urandom(10), "big")
    number = (time.time_ns() // 1_000_000) << 80 | random
    number = number & ~(0xF000 << 64) | 0x7000 << 64
    number = number & ~(0xC000 << 48) | 0x8000 << 48
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def encode(arguments: Mapping[str, Any], extra: Mapping[str, Any]) -> bytes:
    """Return the body of a message.

    Beside JSON's own types, whatever has one obvious JSON form is accepted (datetime, date,
    Decimal, UUID, Enum, set, tuple, bytes, dataclass, pydantic model, path, subclasses of JSON's
    types). Raises `BadMessage` when a value has none (NaN and infinity too), and when the body is
    too large or too deep.
    """
    try:
        body = _encode({**arguments, EXTRA: extra})
    except (TypeError, ValueError, OverflowError, RecursionError):
        body = _encode_slowly(arguments, extra)
    if b"null" in body:  # what becomes of NaN
        _refuse_nan(arguments)
    if len(body) > 2 * MAX_DEPTH:
        check_limits(body)
    return body


def _encode_slowly(arguments: Mapping[str, Any], extra: Mapping[str, Any]) -> bytes:
    """Encode what the fast encoder refused, or say which argument cannot travel."""
    pieces = {f"Argument {name!r}": {name: value} for name, value in arguments.items()}
    for owner, piece in {**pieces, "The message's 'extra'": extra}.items():
        try:
            strict_json(piece)
        except RecursionError:
            raise BadMessage(f"{owner} is nested more than {MAX_DEPTH} levels deep.") from None
        except (TypeError, ValueError, OverflowError) as error:
            raise BadMessage(
                f"{owner} cannot be written as JSON ({error}). Pass plain data: text, numbers,"
                " lists, dicts."
            ) from None
    return strict_json({**arguments, EXTRA: extra})


def _refuse_nan(arguments: Mapping[str, Any]) -> None:
    for name, argument in arguments.items():
        number = odd_number(argument)
        if number is not None:
            raise BadMessage(
                f"Argument {name!r} holds {number}, which JSON cannot hold. Pass None or text."
            )


def decode(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments and the `extra` of a message; raises `BadMessage` for anything that is
    not one."""
    size = len(body)
    if size > MAX_BYTES:
        _check_size(body, MAX_BYTES + ROOM_FOR_EXTRA)
    try:
        arguments = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _why_bad(body, error) from None
    if size > 2 * MAX_DEPTH:
        _check_depth(body)
    extra = arguments.pop(EXTRA, None)
    if extra is None:
        extra = {}
    elif type(extra) is not dict:
        raise BadMessage("The message's 'extra' is not an object.")
    return arguments, extra


def replace_extra(body: bytes, changes: Mapping[str, Any]) -> bytes:
    """Return `body` with `changes` made in its `extra` (None removes a key).

    A body that is no message is returned wrapped: `{"raw": text, "extra": {…}}`, so that it can be
    kept and shown as a dead letter; bytes that are not UTF-8 are escaped in the text, and a text
    that would not fit into a message is cut.
    """
    try:
        arguments, extra = decode(body)
    except BadMessage:
        arguments, extra = {"raw": _as_text(body)}, {}
    extra.update(changes)
    kept = {key: value for key, value in extra.items() if value is not None}
    try:
        return _encode({**arguments, EXTRA: kept})
    except UnicodeEncodeError:  # a traceback may hold half a character, from a file's name
        return lenient_json({**arguments, EXTRA: kept})


def _as_text(body: bytes) -> str:
    text = body[:MAX_BYTES].decode("utf-8", "backslashreplace")
    while len(_encode(text)) > MAX_BYTES:
        text = text[: len(text) // 2]
    return text


def check_limits(body: bytes) -> None:
    """Raise `BadMessage` when `body`, valid JSON, is too large to be pushed or nested too
    deeply."""
    _check_size(body, MAX_BYTES)
    _check_depth(body)


def _check_size(body: bytes, limit: int) -> None:
    if len(body) > limit:
        raise BadMessage(
            f"The message is {len(body):,} bytes; the limit is {MAX_BYTES:,}. "
            "Put large data into a file or object store and its path into the message."
        )


def _check_depth(body: bytes) -> None:
    """Count brackets first, which settles it for nearly all; then peel the innermost pairs off, one
    level a round."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    brackets = _JSON_TEXT.sub(b"", body).translate(_PARENTHESES, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"()", b"")
        if not brackets:
            return
    raise BadMessage(f"The message is nested more than {MAX_DEPTH} levels deep.")


def _why_bad(body: bytes, error: Exception) -> BadMessage:
    if isinstance(error, RecursionError):
        return BadMessage(f"The message is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(error, UnicodeDecodeError):
        return BadMessage(f"The message is not UTF-8: {error}.")
    if isinstance(error, msgspec.ValidationError) and not body.lstrip().startswith(b"{"):
        return BadMessage("The message is JSON but not an object of arguments by name.")
    return BadMessage(f"The message is not JSON: {error}.")
