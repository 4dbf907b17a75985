"""What kinds of values an option can have: how each is checked and converted, and what stands for
it in the help.

A check takes what a flag, a variable, `fb.toml`, Python or a message says, and returns the value or
raises `ValueError` with a sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, NamedTuple

from fbcli.values.durations import parse_duration, span
from fbcli.values.moments import check_moment
from fbcli.values.names import parse_names
from fbcli.values.per_key import parse_per_key
from fbcli.values.sizes import parse_size
from fbcli.values.thresholds import parse_threshold

_LARGE = 10**18
_SWITCHES = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


class Kind(NamedTuple):
    """One kind of values."""

    check: Callable[[object], Any]
    shown: str
    """What stands for a value in the help."""
    is_switch: bool = False
    """Whether it is on or off; as a flag it takes no value."""


def switch() -> Kind:
    """On or off."""
    return Kind(_switch, "", is_switch=True)


def _switch(value: object) -> bool:
    if value is True or value is False:
        return value
    if isinstance(value, str) and value.strip().lower() in _SWITCHES:
        return _SWITCHES[value.strip().lower()]
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    raise ValueError("write true or false")


def whole(least: int = 0, most: int = 1_000_000) -> Kind:
    """A whole number."""

    def check(value: object) -> int:
        number = _whole(value)
        if number is None:
            raise ValueError("write a whole number")
        return int(_within(number, least, most))

    return Kind(check, "N")


def _whole(value: object) -> int | None:
    if isinstance(value, str):
        text = value.strip()
        digits = text.removeprefix("-")
        if digits.isascii() and digits.isdecimal() and len(digits) <= 20:
            return int(text)
    elif isinstance(value, int) and not isinstance(value, bool):
        return value
    elif isinstance(value, float) and value.is_integer():
        return int(value)
    return None


def whole_or(word: str, least: int, most: int) -> Kind:
    """A whole number, or this word."""

    def check(value: object) -> int | str:
        if value == word:
            return word
        number = _whole(value)
        if number is None:
            raise ValueError(f"write a whole number, or {word}")
        return int(_within(number, least, most))

    return Kind(check, f"N|{word}")


def number(least: float, most: float) -> Kind:
    """A number."""

    def check(value: object) -> float:
        found = _number(value)
        if found is None or not isfinite(found):
            raise ValueError("write a number")
        return _within(found, least, most)

    return Kind(check, "NUMBER")


def _number(value: object) -> float | None:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            return None
    return None


def _within(value: float, least: float, most: float) -> float:
    if not least <= value <= most:
        raise ValueError(f"it must lie between {least:,} and {most:,}")
    return value


def text(longest: int = 1000) -> Kind:
    """Some text, not empty; a whole number is taken as its digits."""

    def check(value: object) -> str:
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGE:
            value = str(value)
        if not isinstance(value, str):
            raise ValueError("write a text")
        if not 0 < len(value) <= longest:
            raise ValueError(f"a text has 1 to {longest:,} characters here")
        return value

    return Kind(check, "TEXT")


def choice(*words: str) -> Kind:
    """One of these words."""

    def check(value: object) -> str:
        if value not in words:
            raise ValueError(f"write one of {', '.join(words)}")
        return str(value)

    return Kind(check, "|".join(words))


def seconds(least: float = 0.0, *, above: float | None = None) -> Kind:
    """A duration: at least so long, or longer than `above` (seconds)."""

    def check(value: object) -> float:
        duration = parse_duration(value)
        if duration < least or (above is not None and duration <= above):
            raise ValueError(
                f"it must be at least {span(least)}"
                if above is None
                else f"it must be longer than {span(above)}"
            )
        return duration

    return Kind(check, "SECONDS")


def moment() -> Kind:
    """A time, as it is written in a message: Unix seconds."""
    return Kind(check_moment, "TIME")


def size() -> Kind:
    """A size in bytes, at least one."""

    def check(value: object) -> int:
        found = parse_size(value)
        if not found:
            raise ValueError("it must be at least one byte")
        return found

    return Kind(check, "SIZE")


def names() -> Kind:
    """Some names."""
    return Kind(parse_names, "NAME,…")


def per_key() -> Kind:
    """A limit for each value of an argument."""
    return Kind(parse_per_key, "ARGUMENT=N")


def threshold() -> Kind:
    """So many failures within a time."""
    return Kind(parse_threshold, "N/DURATION")


def window() -> Kind:
    """Spans of time, like "22:00-06:00"."""

    def check(value: object) -> str:
        from fbcli.values.windows import check_window  # noqa: PLC0415  where there is one

        return check_window(_text(value))

    return Kind(check, "WINDOW")


def zone() -> Kind:
    """A time zone by its name, like "Europe/Berlin"."""

    def check(value: object) -> str:
        from fbcli.values.windows import check_zone  # noqa: PLC0415  where there is one

        return check_zone(_text(value))

    return Kind(check, "ZONE")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("write a text")
    return value
