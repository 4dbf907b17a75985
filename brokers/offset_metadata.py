"""What is settled above a committed offset, as text to be committed beside it.

`fb1:`, then in URL-safe base64 a CRC-32 of the offset (in decimal) and the runs, then the runs:
each two numbers, from the end of the one before it (from the offset) to its start, and its length;
each number seven bits a byte, the lowest first, the eighth bit set on all of its bytes but the
last.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Iterator

Run = tuple[int, int]
"""Offsets from the first up to the second, which is not among them."""

MOST_METADATA = 4096
"""Bytes; a Kafka server takes no more by default (offset.metadata.max.bytes)."""

FORM = "fb1:"
"""How the text begins; what begins otherwise is somebody else's."""


def encode(runs: Iterable[Run], offset: int, most: int = MOST_METADATA) -> str:
    """Return runs above `offset` as metadata of at most `most` bytes: those that fit, from the
    lowest on."""
    room = (most - len(FORM)) * 3 // 4 - 4
    body = bytearray()
    position = offset
    for start, end in runs:
        piece = _number(start - position) + _number(end - start)
        if len(body) + len(piece) > room:
            break
        body += piece
        position = end
    if not body:
        return ""
    return FORM + base64.urlsafe_b64encode(_check(body, offset) + body).rstrip(b"=").decode()


def decode(text: str, offset: int) -> list[Run]:
    """Return the runs in metadata that was committed with this offset; none where it is somebody
    else's, damaged, or was committed with another offset: a message too many is run again, none is
    passed over."""
    if not text.startswith(FORM):
        return []
    coded = text[len(FORM) :].encode("ascii", "replace")
    try:
        data = base64.b64decode(coded + b"=" * (-len(coded) % 4), b"-_", validate=True)
    except binascii.Error:
        return []
    body = data[4:]
    if data[:4] != _check(body, offset):
        return []
    runs: list[Run] = []
    position = offset
    numbers = _numbers(body)
    for gap, length in zip(numbers, numbers, strict=False):
        if not gap or not length:
            return []
        runs.append((position + gap, position + gap + length))
        position += gap + length
    return runs


def _check(body: bytes | bytearray, offset: int) -> bytes:
    return zlib.crc32(body, zlib.crc32(b"%d" % offset)).to_bytes(4, "big")


def _number(value: int) -> bytes:
    coded = bytearray()
    while value > 0x7F:
        coded.append(0x80 | value & 0x7F)
        value >>= 7
    coded.append(value)
    return bytes(coded)


def _numbers(body: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in body:
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            yield value
            value = shift = 0
