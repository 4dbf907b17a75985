"""Durations as text: read ("90", "1.5s", "1h30m", "7d") and written. In memory they are seconds.

What `exact` writes is read back as the same number, what `span` writes as about it.
"""

from __future__ import annotations

import re
from datetime import timedelta

LONGEST = 100 * 366 * 86400.0
"""Seconds: a century. More is a slip, and more than threads can wait."""

UNITS = {
    "w": 604800.0,
    "d": 86400.0,
    "h": 3600.0,
    "min": 60.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
}
_OTHER_NAMES = str.maketrans({"µ": "u", "μ": "u"})  # the sign of the unit, and the letter
_PART = r"([0-9]+(?:\.[0-9]+)?)\s*(ms|us|min|[wdhms])\s*"  # compiled when there is a text
_SMALL = ((1e-6, "µs", 100), (1e-3, "ms", 1000), (1.0, "s", 60))
"""Unit, its name, and from how many of them on the next one is taken."""
_LARGE = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))


def parse_duration(value: object) -> float:
    """Return the seconds of "90", "1.5s", "1h30m", "7d", of a number or a `timedelta`.

    Raises `ValueError` with a sentence for what is none, is negative, no number (NaN), or longer
    than a century.
    """
    if isinstance(value, str):
        seconds = _read(value)
    elif isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value
    else:
        raise ValueError(_no_duration(value))
    if seconds < 0:
        raise ValueError("a duration cannot be negative")
    if not seconds <= LONGEST:  # NaN, too
        raise ValueError("a duration is at most a century")
    return float(seconds)


def _read(text: str) -> float:
    words = text.strip().lower().translate(_OTHER_NAMES)
    try:
        return float(words)
    except ValueError:
        pass
    if re.fullmatch(f"(?:{_PART})+", words) is None:
        raise ValueError(_no_duration(text))
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(_PART, words))


def _no_duration(value: object) -> str:
    return f"{value!r} is not a duration; write seconds, or like 90s, 10m, 1h30m, 7d"


def exact(seconds: float) -> str:
    """Return seconds to the last digit: `60s`, `0.25s`; `parse_duration` reads the same number."""
    digits = repr(float(seconds))
    if "e" in digits:
        from decimal import Decimal  # noqa: PLC0415  for odd numbers only

        digits = format(Decimal(digits), "f")
    return f"{digits.removesuffix('.0')}s"


def span(seconds: float, digits: int = 2) -> str:
    """Return seconds for a person, in one unit with so many digits or in two: `0.42 ms`, `1.3 s`,
    `2 min 5 s`, `3 d 4 h`. Negative ones count as none; `parse_duration` reads it."""
    if seconds < 5e-10:
        return "0 s"
    if not seconds <= LONGEST:
        return "more than a century"
    for size, unit, most in _SMALL:
        shown = _shown(seconds / size, digits)
        if float(shown) < most:
            return f"{shown} {unit}"
    rest = round(seconds)
    size, unit, part, part_unit = next(large for large in _LARGE if rest >= large[0])
    smaller = rest % size // part
    return f"{rest // size} {unit}" + (f" {smaller} {part_unit}" if smaller else "")


def _shown(value: float, digits: int) -> str:
    text = f"{value:.{max(0, digits - len(str(int(value)))) if value >= 1 else digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
