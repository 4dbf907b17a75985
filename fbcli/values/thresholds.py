"""Thresholds: so many failures within so much time, as text "5/60s"."""

from __future__ import annotations

from typing import NamedTuple

from fbcli.values.durations import exact, parse_duration

MOST = 1_000_000
"""Failures; more are never counted."""


class Threshold(NamedTuple):
    """`5/60s`: so many failures within so many seconds. As text it is what is read again."""

    failures: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.failures}/{exact(self.seconds)}"


def parse_threshold(value: object) -> Threshold:
    """Return the `Threshold` of "5/60s", or of a pair. Raises `ValueError` with a sentence."""
    if isinstance(value, str):
        number, separator, time = (part.strip() for part in value.partition("/"))
        if separator and number.isascii() and number.isdecimal():
            return _threshold(int(number[:10]), time)
    elif isinstance(value, tuple | list) and len(value) == 2 and type(value[0]) is int:
        return _threshold(*value)
    raise ValueError(f"{value!r} is no threshold; write failures and a time, like 5/60s")


def _threshold(failures: int, time: object) -> Threshold:
    if not 1 <= failures <= MOST:
        raise ValueError(f"a threshold counts from 1 to {MOST:,} failures")
    seconds = parse_duration(time)
    if not seconds:
        raise ValueError("a threshold needs a time above 0, like 5/60s")
    return Threshold(failures, seconds)
