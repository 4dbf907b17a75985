"""A limit for each value of an argument, as text "customer_id=2"."""

from __future__ import annotations

from typing import NamedTuple

MOST = 100_000
"""Calls at once; more are no limit."""


class PerKey(NamedTuple):
    """`customer_id=2`: so many calls at once for each value of this argument. As text it is what is
    read again."""

    argument: str
    limit: int

    def __str__(self) -> str:
        return f"{self.argument}={self.limit}"


def parse_per_key(value: object) -> PerKey:
    """Return the `PerKey` of "customer_id=2", or of a pair. Raises `ValueError` with a sentence."""
    if isinstance(value, str):
        name, _, number = (part.strip() for part in value.partition("="))
        if name.isidentifier() and number.isascii() and number.isdecimal():
            return _per_key(name, int(number[:10]))
    elif isinstance(value, tuple | list) and len(value) == 2:
        argument, limit = value
        if isinstance(argument, str) and argument.isidentifier() and type(limit) is int:
            return _per_key(argument, limit)
    raise ValueError(
        f"{value!r} names no limit; write an argument and how many at once, like customer_id=2"
    )


def _per_key(argument: str, limit: int) -> PerKey:
    if not 1 <= limit <= MOST:
        raise ValueError(f"a limit lies between 1 and {MOST:,} calls at once")
    return PerKey(argument, limit)
