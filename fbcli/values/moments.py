"""Moments as text: read ("18:00", "2026-12-24 18:00", ISO 8601) and written in local time. In
memory they are Unix seconds."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from fbcli.values.durations import span

LATEST = 7_258_118_400.0
"""Unix seconds: the end of the year 2199. Later is a slip, like milliseconds for seconds."""

_CLOCK_TIME = r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?"  # compiled when there is a text


def check_moment(value: object) -> float:
    """Return Unix seconds as they are written in a message; raises `ValueError` with a sentence for
    what is no time."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no time; write Unix seconds")
    if not 0 <= value <= LATEST:  # NaN, too
        raise ValueError("a time lies between the years 1970 and 2199; Unix times are in seconds")
    return float(value)


def parse_moment(value: object, *, now: float) -> float:
    """Return the Unix time of "18:00" (the next one, local time), "2026-12-24 18:00", ISO 8601 with
    a zone, a `datetime`, or Unix seconds.

    `now` is Unix seconds. Raises `ValueError` with a sentence.
    """
    if isinstance(value, datetime):
        value = _unix(value)
    elif isinstance(value, str):
        number = _number(value)
        value = _unix(_read(value.strip(), now)) if number is None else number
    return check_moment(value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _read(text: str, now: float) -> datetime:
    try:
        if match := re.fullmatch(_CLOCK_TIME, text):
            hour, minute, second = (int(part or 0) for part in match.groups())
            today = datetime.fromtimestamp(now)
            moment = today.replace(hour=hour, minute=minute, second=second, microsecond=0)
            return moment if moment > today else moment + timedelta(days=1)
        return datetime.fromisoformat(f"{text[:-1]}+00:00" if text.endswith("Z") else text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a time; write 18:00, '2026-12-24 18:00', or ISO 8601"
        ) from None


def _unix(moment: datetime) -> float:
    try:
        return moment.timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{moment} is beyond what clocks can tell") from None


def ago(moment: float | None, now: float) -> str | None:
    """Return how long ago a Unix time was; None for none."""
    return None if moment is None else f"{span(now - moment)} ago"


def due(moment: float, now: float) -> str:
    """Return when a Unix time to come is, in local time, and how far off: `18:00:00 (in 2h 5m)`."""
    if moment <= now:
        return "now"
    if moment - now > 3650 * 86400:
        return "in more than ten years"
    then, today = datetime.fromtimestamp(moment), datetime.fromtimestamp(now)
    shown = then.strftime("%H:%M:%S" if then.date() == today.date() else "%Y-%m-%d %H:%M:%S")
    return f"{shown} (in {span(moment - now)})"


def local(moment: float) -> str:
    """Return a Unix time in local time; one that no calendar holds as the number that it is."""
    try:
        return datetime.fromtimestamp(moment).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(moment)
