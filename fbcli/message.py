"""The wire format: a UTF-8 JSON object of the function's arguments by name, plus the reserved key `extra`.

    {"x": 1, "y": 2, "extra": {"task_id": "0198…", "publish_time": 1701687443.3596}}

Everything in `extra` is optional, and so is `extra`: a program in any language that writes `{"x": 1}` is a publisher.
Nothing of Python travels, never pickle: a message can name no code.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from fbcli.errors import BadMessage

EXTRA = "extra"

MAX_BYTES = 4 * 1024 * 1024
"""Largest body accepted at push and at consume. Larger data belongs into a file or an object store, its path into the message."""

MAX_DEPTH = 64
"""Deepest nesting of lists and objects accepted."""

_encoder = msgspec.json.Encoder()
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def new_task_id() -> str:
    """Return a UUIDv7 (RFC 9562): sorts by the time it was made, in milliseconds; 74 random bits."""
    random = int.from_bytes(os.urandom(10), "big")
    number = (time.time_ns() // 1_000_000) << 80 | random
    number = number & ~(0xF000 << 64) | 0x7000 << 64
    number = number & ~(0xC000 << 48) | 0x8000 << 48
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def encode(arguments: Mapping[str, Any], extra: Mapping[str, Any]) -> bytes:
    """Return the body of a message.

    Beside JSON's own types, whatever has one obvious JSON form is accepted (datetime, date, Decimal, UUID, Enum, set, tuple,
    bytes, dataclass, pydantic model, path).
    Raises `BadMessage` when a value has none, and when the body is too large or nested too deeply.
    """
    try:
        body = _encoder.encode({**arguments, EXTRA: extra})
    except (TypeError, ValueError, OverflowError, RecursionError):
        body = _encode_slowly(arguments, extra)
    if len(body) > MAX_BYTES or body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        check_limits(body)
    return body


def _encode_slowly(arguments: Mapping[str, Any], extra: Mapping[str, Any]) -> bytes:
    """Encode what the fast encoder refused, or say which argument cannot travel."""
    encoder = msgspec.json.Encoder(enc_hook=_to_json)
    for name, value in arguments.items():
        try:
            encoder.encode(value)
        except RecursionError:
            raise BadMessage(f"Argument {name!r} is nested more than {MAX_DEPTH} levels deep.") from None
        except (TypeError, ValueError, OverflowError) as error:
            raise BadMessage(
                f"Argument {name!r} of type {type(value).__name__} cannot be written as JSON ({error}). "
                "Pass plain data: text, numbers, lists, dicts."
            ) from None
    return encoder.encode({**arguments, EXTRA: extra})


def _to_json(value: object) -> object:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    raise TypeError(f"no JSON form of {type(value).__name__}")


def decode(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments and the `extra` of a message; raises `BadMessage` for anything that is not one."""
    if len(body) > MAX_BYTES:
        check_limits(body)
    try:
        arguments = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _why_bad(body, error) from None
    extra = arguments.pop(EXTRA, None)
    if extra is None:
        extra = {}
    elif type(extra) is not dict:
        raise BadMessage("The message's 'extra' is not an object.")
    return arguments, extra


def replace_extra(body: bytes, changes: Mapping[str, Any]) -> bytes:
    """Return `body` with `changes` made in its `extra` (None removes a key). A body that is no message is returned wrapped:
    `{"raw": text, "extra": {…}}`, so that it can be kept and shown as a dead letter."""
    try:
        arguments, extra = decode(body)
    except BadMessage:
        arguments, extra = {"raw": body[:MAX_BYTES].decode("utf-8", "backslashreplace")}, {}
    extra.update(changes)
    return _encoder.encode({**arguments, EXTRA: {key: value for key, value in extra.items() if value is not None}})


def check_limits(body: bytes) -> None:
    """Raise `BadMessage` when `body` is too large or nested too deeply."""
    if len(body) > MAX_BYTES:
        raise BadMessage(
            f"The message is {len(body):,} bytes; the limit is {MAX_BYTES:,}. "
            "Put large data into a file or object store and its path into the message."
        )
    if _depth(body) > MAX_DEPTH:
        raise BadMessage(f"The message is nested more than {MAX_DEPTH} levels deep.")


def _depth(body: bytes) -> int:
    deepest = depth = 0
    for token in re.findall(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', body):
        if token in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
        elif token in (b"]", b"}"):
            depth -= 1
    return deepest


def _why_bad(body: bytes, error: Exception) -> BadMessage:
    if isinstance(error, RecursionError):
        return BadMessage(f"The message is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(error, msgspec.ValidationError):
        return BadMessage("The message is JSON but not an object of arguments by name.")
    return BadMessage(f"The message is not JSON: {error}.")
