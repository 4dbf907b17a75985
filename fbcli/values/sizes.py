"""Sizes as text: read ("500MB", "1.5GiB", "800000") and written. In memory they are bytes."""

from __future__ import annotations

import re

LARGEST = 2**60
"""Bytes: an exbibyte. More is a slip."""

UNITS = {
    "": 1,
    "k": 10**3,
    "ki": 2**10,
    "m": 10**6,
    "mi": 2**20,
    "g": 10**9,
    "gi": 2**30,
    "t": 10**12,
    "ti": 2**40,
    "p": 10**15,
    "pi": 2**50,
}
_SIZE = r"([0-9]+(?:\.[0-9]+)?)\s*([kmgtp]i?|)b?"  # compiled when there is a text
_SHOWN = ((10**15, "PB"), (10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def parse_size(value: object) -> int:
    """Return the bytes of "500MB", "1.5GiB", "800000", or of a whole number.

    Raises `ValueError` with a sentence for what is none, or more than an exbibyte.
    """
    if isinstance(value, str):
        match = re.fullmatch(_SIZE, value.strip().lower())
        if match is None:
            raise ValueError(_no_size(value))
        size = (float(match[1]) if "." in match[1] else int(match[1])) * UNITS[match[2]]
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        raise ValueError(_no_size(value))
    if not 0 <= size <= LARGEST:
        raise ValueError("a size lies between 0 bytes and 1024 PiB")
    return int(size)


def _no_size(value: object) -> str:
    return f"{value!r} is not a size; write bytes, or like 500MB, 1.5GiB"


def about(size: int) -> str:
    """Return bytes in three digits: `512MB`, `1.5GB`."""
    for unit, name in _SHOWN:
        if size >= 0.9995 * unit:
            return f"{float(f'{size / unit:.3g}'):g}{name}"
    return f"{size}B"
