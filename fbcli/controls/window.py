"""Window: a queue's tasks start at certain times of the day only. Outside of them nothing is held:
the messages stay in the broker."""

from __future__ import annotations

import logging
from datetime import datetime

from fbcli.clock import SYSTEM, Clock
from fbcli.controls.base import OPEN, Control, Gate, Opening, Place, Shut
from fbcli.values import kinds
from fbcli.values.declaration import option
from fbcli.values.windows import Hours, find_zone

log = logging.getLogger("fbcli.consumer")

LOOK = 60.0
"""Seconds after which it looks at the clock on the wall again in any case, since that clock may be
set."""

LEAST = 0.001
"""Seconds between two looks: at the very moment of a change, two clocks do not agree to the
microsecond."""


class WindowControl(Control):
    """Its options."""

    window: str | None = option(
        None,
        kinds.window(),
        "Time",
        "Run only within: 22:00-06:00, 'mon-fri 9:00-17:00', or cron '* 9-17 * * 1-5'; several"
        " separated by ';'.",
    )
    not_between: str | None = option(
        None, kinds.window(), "Time", "Do not run within; written like --window."
    )
    tz: str | None = option(
        None,
        kinds.zone(),
        "Time",
        "Time zone of the windows, like Europe/Berlin; by default that of the machine.",
        needs=("window", "not_between"),
    )

    def gate(self, place: Place) -> Gate | None:
        if not self.window and not self.not_between:
            return None
        return Window(self.window, self.not_between, self.tz, place.clock)


class Window(Gate):
    """Open inside any part of `window` and outside all parts of `not_between`, in the time zone
    `tz`; see `fbcli.values.windows.Hours`."""

    name = "window"

    def __init__(
        self, window: str | None, not_between: str | None, tz: str | None, clock: Clock = SYSTEM
    ) -> None:
        self._hours = Hours(window, not_between, tz)
        self._tz = tz
        self._clock = clock
        self._open = True
        self._look_at = float("-inf")

    def fetchable(self, now: float) -> Opening:
        if now >= self._look_at:
            self._look(now)
        return OPEN if self._open else Opening(0, self._look_at)

    def closed(self, now: float) -> bool:
        if now >= self._look_at:
            self._look(now)
        return not self._open

    def look_at(self) -> float:
        return self._look_at

    def shut(self, now: float) -> Shut | None:
        return (
            None if self._open else Shut("closed", f"its hours {self._prospect(self._clock.now())}")
        )

    def opens_at(self, at: float) -> float | None:
        """Return when it is open next (Unix seconds): `at` itself when it is open then, None when
        never."""
        return self._hours.opens_at(at)

    def _look(self, now: float) -> None:
        at = self._clock.now()
        state = self._hours.look(at)
        self._look_at = now + min(LOOK, max(LEAST, state.until - at))
        if state.open == self._open:
            return
        self._open = state.open
        if self._open:
            log.info("inside the hours when it may run")
        else:
            log.info("outside the hours when it may run; they %s", self._prospect(at))

    def _prospect(self, at: float) -> str:
        """Return when it opens, for a person."""
        opens = self.opens_at(at)
        if opens is None:
            return "never begin"
        zone = find_zone(self._tz) if self._tz else None
        return f"begin {datetime.fromtimestamp(opens, zone):%Y-%m-%d %H:%M:%S}" + (
            f" ({self._tz})" if self._tz else ""
        )
