"""Windows: spans of time written as text, like "mon-fri 9:00-17:00" or cron, and when they are open
in a time zone.

Spans are meant by the clock on the wall: where it skips an hour there is none to be open in, and
one that it repeats is open both times. Knows no clock itself: whoever asks says at what time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from fbcli.errors import did_you_mean

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""Weekdays, as `date.weekday` counts them."""

HORIZON = 5 * 366 * 86400.0
"""Seconds: what does not open within five years (a leap day is never farther) never opens."""

MOST_LOOKS = 10_000
"""How often the next opening is sought before it counts as never, within about half a second."""

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_EPOCH = datetime(1970, 1, 1)
_NEVER = datetime.max
_TIME = r"(\d{1,2}):(\d{2})(?::(\d{2}))?"
_SPAN = re.compile(rf"(?:([a-z,-]+) )?{_TIME}-{_TIME}")
_LIKE = (
    "write 22:00-06:00, 'mon-fri 9:00-17:00', or cron like '* 9-17 * * 1-5'; several separated"
    " by ';'"
)


class Look(NamedTuple):
    """What a part of a window says of a moment of local time."""

    inside: bool
    until: datetime
    """Up to when, at least, that is so; `_NEVER`: it does not change."""


class Part(Protocol):
    """One span of a window."""

    def look(self, local: datetime) -> Look:
        """Return whether a moment of local time is inside, and up to when that holds."""
        ...


class Span:
    """From `begin` for `length` (seconds from midnight, seconds), on the weekdays `days` (0:
    Monday): those on which it begins."""

    def __init__(self, begin: int, length: int, days: frozenset[int]) -> None:
        self.begin = begin
        self.length = length
        self.days = days

    def look(self, local: datetime) -> Look:
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        for day in range(-1, 8):
            begin = midnight + timedelta(days=day, seconds=self.begin)
            if (midnight.weekday() + day) % 7 not in self.days:
                continue
            end = begin + timedelta(seconds=self.length)
            if begin <= local < end:
                return Look(True, end)
            if local < begin:
                return Look(False, begin)
        raise AssertionError("a span without a day")


class Cron:
    """The minutes that a cron expression of five fields names. Raises `ValueError`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._fields = self._after(_EPOCH)
        self._hourly = len(self._fields.minutes) == 60
        self._daily = self._hourly and len(self._fields.hours) == 24

    def look(self, local: datetime) -> Look:
        minute = local.replace(second=0, microsecond=0)
        if self._includes(minute):
            return Look(True, self._end(minute))
        return Look(False, next(self._after(minute), _NEVER))

    def _after(self, local: datetime) -> Any:
        """Return an iterator over the minutes after this one."""
        # only where there is a cron expression
        from cronsim import CronSim, CronSimError  # noqa: PLC0415

        try:
            return CronSim(self._text, local)
        except (CronSimError, ValueError) as error:
            reason = str(error)
            raise ValueError(
                f"{self._text!r} is no cron expression: {reason[:1].lower()}{reason[1:]}"
            ) from None

    def _includes(self, minute: datetime) -> bool:
        fields = self._fields
        return (
            minute.minute in fields.minutes
            and minute.hour in fields.hours
            and minute.month in fields.months
            and fields.match_day(minute)
        )

    def _end(self, minute: datetime) -> datetime:
        """Return the first minute after this one that is not included (a year from now, should none
        be near)."""
        last = minute + 366 * _DAY
        while minute < last and self._includes(minute):
            if self._daily and not minute.hour and not minute.minute:
                minute += _DAY
            elif self._hourly and not minute.minute:
                minute += _HOUR
            else:
                minute += _MINUTE
        return minute


def parse_windows(text: str) -> tuple[Part, ...]:
    """Return the parts of "22:00-06:00; mon-fri 12:00-13:00; * 9-17 * * 1-5". Raises
    `ValueError`."""
    parts = tuple(_part(part.strip()) for part in text.split(";") if part.strip())
    if not parts:
        raise ValueError(f"{text!r} names no span of time; {_LIKE}")
    return parts


def check_window(text: str) -> str:
    """Return `text` when it can be used as a window. Raises `ValueError` with a sentence."""
    parse_windows(text)
    return text


def _part(text: str) -> Part:
    if ":" not in text and len(text.split()) == 5:
        return Cron(text)
    match = _SPAN.fullmatch(re.sub(r"\s*([,-])\s*", r"\1", re.sub(r"\s+", " ", text.lower())))
    if match is None:
        raise ValueError(f"{text!r} is no span of time; {_LIKE}")
    days, *numbers = match.groups()
    begin, end = _seconds(text, numbers[:3], 86399), _seconds(text, numbers[3:], 86400)
    if begin == end:
        raise ValueError(f"{text!r} begins when it ends; the whole day is 0:00-24:00")
    return Span(
        begin, (end - begin) % 86400 or 86400, _days(text, days) if days else frozenset(range(7))
    )


def _seconds(text: str, numbers: Sequence[str | None], most: int) -> int:
    hour, minute, second = (int(number or 0) for number in numbers)
    total = hour * 3600 + minute * 60 + second
    if minute > 59 or second > 59 or total > most:
        raise ValueError(f"{text!r} has a time that no clock shows; {_LIKE}")
    return total


def _days(text: str, days: str) -> frozenset[int]:
    """Return the weekdays of "mon-wed,sat"; over the end of the week, too: "fri-mon"."""
    found: set[int] = set()
    for item in days.split(","):
        first, _, last = item.partition("-")
        begin = _day(text, first)
        length = (_day(text, last) - begin) % 7 if "-" in item else 0
        found.update((begin + number) % 7 for number in range(length + 1))
    return frozenset(found)


def _day(text: str, name: str) -> int:
    for number, full in enumerate(
        ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    ):
        if len(name) >= 3 and full.startswith(name):
            return number
    raise ValueError(f"{text!r} names no weekday {name!r}; weekdays are {', '.join(DAYS)}")


def check_zone(name: str) -> str:
    """Return `name` when it is that of a time zone. Raises `ValueError` with a sentence."""
    find_zone(name)
    return name


@lru_cache(maxsize=16)
def find_zone(name: str) -> tzinfo:
    """Return the time zone "Europe/Berlin". Raises `ValueError` when there is none of that name, or
    the system knows none."""
    import zoneinfo  # noqa: PLC0415  a few milliseconds that only a named zone needs

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
    if not known:
        raise ValueError(
            f"{name!r} is not known, since this system has no time zone data; `pip install tzdata`"
            " brings it"
        )
    raise ValueError(
        f"{name!r} is no time zone.{_similar(name, known)} Zones are named like Europe/Berlin"
        " or UTC"
    )


def _similar(name: str, known: set[str]) -> str:
    """Return a hint, as `did_you_mean` does, that sees through upper case, spaces, and a missing
    continent."""
    wanted = name.strip().replace(" ", "_").lower()
    for zone in sorted(known):
        if wanted in (zone.lower(), zone.lower().rpartition("/")[2]):
            return f" Did you mean {zone!r}?"
    return did_you_mean(name, sorted(known))


class State(NamedTuple):
    """Whether it is open, and up to when (Unix seconds) that is so at least."""

    open: bool
    until: float


class Hours:
    """Open inside any part of `window` (None: always) and outside all parts of `not_between`, by
    the local time of the zone `tz` (None: that of the machine). Raises `ValueError` when one cannot
    be read."""

    def __init__(
        self, window: str | None, not_between: str | None = None, tz: str | None = None
    ) -> None:
        self._window = parse_windows(window) if window else ()
        self._barred = parse_windows(not_between) if not_between else ()
        self._zone = find_zone(tz) if tz else None

    def look(self, at: float) -> State:
        """Return whether it is open at `at` (Unix seconds)."""
        local = self._local(at)
        windows = [part.look(local) for part in self._window]
        barred = [part.look(local) for part in self._barred]
        inside = [look.until for look in windows if look.inside]
        outside = [look.until for look in barred if look.inside]
        if (inside or not windows) and not outside:
            ends = [max(inside)] if inside else []
            return State(
                True,
                self._reach(
                    at, local, min([*ends, *(look.until for look in barred)], default=_NEVER)
                ),
            )
        if not inside and windows:
            outside.append(min(look.until for look in windows))
        return State(False, self._reach(at, local, max(outside)))

    def opens_at(self, at: float) -> float | None:
        """Return when it is open next (Unix seconds): `at` itself when it is open then, None when
        never."""
        last = at + HORIZON
        for _ in range(MOST_LOOKS):
            state = self.look(at)
            if state.open:
                return at
            at = state.until
            if at > last:
                break
        return None

    def _local(self, at: float) -> datetime:
        return datetime.fromtimestamp(at, self._zone).replace(tzinfo=None)

    def _offset(self, at: int) -> int:
        """Return how far local time is ahead of UTC (seconds)."""
        return round((self._local(at) - _EPOCH).total_seconds()) - at

    def _reach(self, at: float, local: datetime, change: datetime) -> float:
        """Return when the clock on the wall, which shows `local` at `at`, will show `change`; or
        when it is changed before that."""
        if change == _NEVER:
            return float("inf")
        goal = at + (change - local).total_seconds()
        offset = self._offset(int(at))
        seen = int(at)
        while seen < goal:
            ahead = min(int(goal) + 1, seen + 86400)
            if self._offset(ahead) != offset:
                while ahead - seen > 1:
                    middle = (seen + ahead) // 2
                    if self._offset(middle) == offset:
                        seen = middle
                    else:
                        ahead = middle
                return min(goal, float(ahead))
            seen = ahead
        return goal
