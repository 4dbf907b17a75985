"""Windows at exact instants, in zones whose clocks change, by clocks of the test's own."""

from __future__ import annotations

import time
import zoneinfo
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbcli.controls.window import LOOK, Window
from fbcli.errors import BadSetting
from fbcli.options.model import Options
from fbcli.values.windows import Hours, check_window, check_zone, find_zone

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


def utc(text: str) -> float:
    """Return the Unix time of "2026-03-29 01:00" UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


def is_open(hours: Hours, text: str) -> bool:
    return hours.look(utc(text)).open


class TwoClocks:
    """A clock on the wall that can be set, and a monotonic one that began elsewhere."""

    def __init__(self, wall: float, monotonic: float = 5000.0) -> None:
        self.wall = wall
        self.ticks = monotonic

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.ticks

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.ticks += seconds


# what is written


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (
            "9:00-17:00",
            ["2026-06-10 09:00", "2026-06-10 16:59:59"],
            ["2026-06-10 08:59:59", "2026-06-10 17:00"],
        ),
        (
            "22:00-06:00",
            ["2026-06-10 22:00", "2026-06-11 05:59:59"],
            ["2026-06-10 21:59:59", "2026-06-11 06:00"],
        ),
        ("22:00 - 0:00", ["2026-06-10 23:59:59"], ["2026-06-11 00:00"]),
        ("0:00-24:00", ["2026-06-10 00:00", "2026-06-10 23:59:59"], []),
        (
            "12:00:30-12:00:31",
            ["2026-06-10 12:00:30.500"],
            ["2026-06-10 12:00:29.900", "2026-06-10 12:00:31"],
        ),
        (
            "mon-fri 9:00-17:00",
            ["2026-06-12 10:00", "2026-06-15 10:00"],
            ["2026-06-13 10:00", "2026-06-14 10:00"],
        ),
        ("sat, sun 10:00-12:00", ["2026-06-13 10:00", "2026-06-14 11:00"], ["2026-06-12 10:00"]),
        (
            "FRI-monday 8:00-9:00",
            ["2026-06-12 08:00", "2026-06-14 08:00", "2026-06-15 08:00"],
            ["2026-06-16 08:00"],
        ),
        (
            "fri 22:00-06:00",
            ["2026-06-12 22:00", "2026-06-13 05:59"],
            ["2026-06-12 05:00", "2026-06-13 22:00"],
        ),
        (
            "9:00-10:00; 12:00-13:00;",
            ["2026-06-10 09:30", "2026-06-10 12:30"],
            ["2026-06-10 11:00"],
        ),
        (
            "* 9-17 * * 1-5",
            ["2026-06-12 09:00", "2026-06-12 17:59:59.900"],
            ["2026-06-12 18:00", "2026-06-14 10:00"],
        ),
        ("* * * * 0", ["2026-06-14 00:00"], ["2026-06-13 23:59", "2026-06-15 00:00"]),
        ("* * * * 7", ["2026-06-14 23:59"], ["2026-06-13 23:59", "2026-06-15 00:00"]),
        (
            "* * * jun-jul mon,WED",
            ["2026-06-10 01:00", "2026-07-06 01:00"],
            ["2026-06-11 01:00", "2026-08-10 01:00"],
        ),
        (
            "*/20 8 * * *",
            ["2026-06-10 08:20", "2026-06-10 08:20:59"],
            ["2026-06-10 08:21", "2026-06-10 09:20"],
        ),
        (
            "* * 1 * 1",
            ["2026-06-01 08:20", "2026-07-01 00:00", "2026-06-08 00:00"],
            ["2026-06-02 00:00"],
        ),
    ],
)
def test_inside_and_outside(text: str, inside: list[str], outside: list[str]) -> None:
    assert check_window(text) == text
    window, barred = Hours(text, None, "UTC"), Hours(None, text, "UTC")
    assert [is_open(window, at) for at in inside + outside] == [True] * len(inside) + [False] * len(
        outside
    )
    assert [is_open(barred, at) for at in inside + outside] == [False] * len(inside) + [True] * len(
        outside
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'' names no span of time; write 22:00-06:00"),
        (" ; ", "names no span"),
        ("22:00", "'22:00' is no span of time; write"),
        ("22-6", "'22-6' is no span of time; write"),
        ("9:00-17:00 tomorrow", "is no span of time; write"),
        ("22:00-22:00", "begins when it ends; the whole day is 0:00-24:00"),
        ("9:60-10:00", "'9:60-10:00' has a time that no clock shows"),
        ("9:00-10:00:60", "has a time that no clock shows"),
        ("9:00-24:01", "has a time that no clock shows"),
        ("24:00-10:00", "has a time that no clock shows"),
        ("mo 9:00-17:00", "names no weekday 'mo'; weekdays are mon, tue"),
        ("mon-funday 9:00-17:00", "names no weekday 'funday'"),
        ("mon- 9:00-17:00", "is no span of time"),
        ("mon,,tue 9:00-17:00", "names no weekday ''"),
        ("9:00-10:00; 1 2 3 4", "'1 2 3 4' is no span of time"),
        ("* 25 * * *", "'* 25 * * *' is no cron expression: bad hour"),
        ("* 22-6 * * *", "no cron expression: bad hour"),
        ("* * * * 8", "no cron expression: bad day-of-week"),
        ("* * 30 2 *", "no cron expression: bad day-of-month"),
        ("0 * * * * *", "is no span of time"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, says: str) -> None:
    with pytest.raises(ValueError) as raised:
        check_window(text)
    assert says in str(raised.value)
    with pytest.raises(BadSetting, match=r"^--window: window = .* cannot be used: .*\.$"):
        Options.make({"window": text}, source=lambda name: f"--{name}")


@given(st.text(alphabet="0123456789:-;, */#Lmonfri", max_size=20))
def test_any_text_is_a_window_or_a_value_error(text: str) -> None:
    try:
        check_window(text)
    except ValueError:
        return
    Hours(text, None, "UTC").look(utc("2026-06-10 12:00"))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Berln", " Did you mean 'Europe/Berlin'?"),
        ("europe/berlin", " Did you mean 'Europe/Berlin'?"),
        ("New York", " Did you mean 'America/New_York'?"),
        ("utc", " Did you mean"),
        ("", "Zones are named like"),
        ("../etc/passwd", "Zones are named like"),
        ("/etc/passwd", "Zones are named like"),
        ("Europe", "is no time zone"),
    ],
)
def test_zones_that_do_not_exist(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match="is no time zone") as raised:
        check_zone(name)
    assert hint in str(raised.value)


def test_zones_that_do() -> None:
    assert [check_zone(name) for name in (BERLIN, NEW_YORK, "UTC")] == [BERLIN, NEW_YORK, "UTC"]


@pytest.fixture
def no_zone_data(tmp_path: Path) -> Iterator[None]:
    """A system without time zone data."""
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([tmp_path])
    zoneinfo.ZoneInfo.clear_cache()
    find_zone.cache_clear()
    try:
        if zoneinfo.available_timezones():
            pytest.skip("the package tzdata is installed")
        yield
    finally:
        zoneinfo.reset_tzpath(before)


@pytest.mark.usefixtures("no_zone_data")
def test_a_system_without_zone_data_says_what_to_install() -> None:
    with pytest.raises(ValueError, match="no time zone data; `pip install tzdata` brings it"):
        check_zone(BERLIN)


# clocks that change


def changes(hours: Hours, begin: str, end: str) -> list[tuple[str, bool]]:
    """Return each change between two times (UTC), found by going from look to look."""
    at, last = utc(begin), utc(end)
    state = hours.look(at)
    found = [(begin, state.open)]
    while (at := state.until) < last:
        before, state = state, hours.look(at)
        if state.open != before.open:
            found.append((f"{datetime.fromtimestamp(at, timezone.utc):%Y-%m-%d %H:%M}", state.open))
    return found


def test_spring_skips_what_is_not_there() -> None:
    # Berlin: on 2026-03-29 at 01:00 UTC it is 02:00, and then 03:00
    hours = Hours("02:30-03:30", None, BERLIN)
    assert is_open(hours, "2026-03-28 01:30"), "the day before: 02:30"
    assert not is_open(hours, "2026-03-29 00:59:59"), "01:59:59"
    assert is_open(hours, "2026-03-29 01:00"), "03:00, and 02:30 is over"
    assert is_open(hours, "2026-03-29 01:29:59")
    assert not is_open(hours, "2026-03-29 01:30"), "03:30"
    assert changes(hours, "2026-03-29 00:00", "2026-03-29 12:00") == [
        ("2026-03-29 00:00", False),
        ("2026-03-29 01:00", True),
        ("2026-03-29 01:30", False),
    ]
    inside_the_gap = Hours("02:10-02:50", None, BERLIN)
    assert inside_the_gap.opens_at(utc("2026-03-29 00:00")) == utc("2026-03-30 00:10"), (
        "there is none that day"
    )


def test_autumn_has_it_twice() -> None:
    # New York: on 2026-11-01 at 06:00 UTC it is 02:00, and then 01:00 again
    hours = Hours("01:30-02:30", None, NEW_YORK)
    assert changes(hours, "2026-11-01 04:00", "2026-11-01 12:00") == [
        ("2026-11-01 04:00", False),
        ("2026-11-01 05:30", True),
        ("2026-11-01 06:00", False),
        ("2026-11-01 06:30", True),
        ("2026-11-01 07:30", False),
    ]
    # Berlin: on 2026-10-25 at 01:00 UTC it is 03:00, and then 02:00 again
    early = Hours("02:00-02:15", None, BERLIN)
    assert is_open(early, "2026-10-25 00:10")
    assert is_open(early, "2026-10-25 01:10")
    assert early.opens_at(utc("2026-10-25 00:30")) == utc("2026-10-25 01:00"), (
        "the second time, not the next day"
    )


def test_nights_over_a_change_of_clocks() -> None:
    nights = Hours("22:00-06:00", None, BERLIN)
    assert changes(nights, "2026-03-28 12:00", "2026-03-29 12:00")[1:] == [
        ("2026-03-28 21:00", True),
        ("2026-03-29 04:00", False),
    ]
    assert changes(nights, "2026-10-24 12:00", "2026-10-25 12:00")[1:] == [
        ("2026-10-24 20:00", True),
        ("2026-10-25 05:00", False),
    ]
    cron = Hours("* 22,23,0-5 * * *", None, NEW_YORK)
    assert changes(cron, "2026-03-07 18:00", "2026-03-08 18:00")[1:] == [
        ("2026-03-08 03:00", True),
        ("2026-03-08 10:00", False),
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1439), st.integers(1, 1439), st.sets(st.integers(0, 6), min_size=1)
        ),
        min_size=1,
        max_size=3,
    ),
    st.lists(
        st.tuples(
            st.integers(0, 1439), st.integers(1, 1439), st.sets(st.integers(0, 6), min_size=1)
        ),
        max_size=2,
    ),
    st.sampled_from(
        [
            (BERLIN, "2026-03-28 12:00"),
            (BERLIN, "2026-10-24 12:00"),
            (NEW_YORK, "2026-03-07 18:00"),
            (NEW_YORK, "2026-10-31 18:00"),
        ]
    ),
)
def test_no_change_is_missed(
    window: list[tuple[int, int, set[int]]],
    barred: list[tuple[int, int, set[int]]],
    place: tuple[str, str],
) -> None:
    """Against the definition, minute by minute over a day on which the clocks change."""
    zone, begin = place

    def written(spans: list[tuple[int, int, set[int]]]) -> str:
        names = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
        days = [",".join(names[day] for day in sorted(span[2])) for span in spans]
        ends = [(span[0], (span[0] + span[1]) % 1440) for span in spans]
        return ";".join(
            f"{day} {first // 60}:{first % 60:02}-{last // 60}:{last % 60:02}"
            for day, (first, last) in zip(days, ends, strict=True)
        )

    def within(spans: list[tuple[int, int, set[int]]], local: datetime) -> bool:
        minute = local.hour * 60 + local.minute
        return any(
            (local.weekday() in days and first <= minute < first + length)
            or (
                (local - timedelta(days=1)).weekday() in days
                and first <= minute + 1440 < first + length
            )
            for first, length, days in spans
        )

    hours = Hours(written(window), written(barred) or None, zone)
    first = utc(begin)
    truth = []
    for minute in range(1440):
        local = datetime.fromtimestamp(first + minute * 60, find_zone(zone)).replace(tzinfo=None)
        truth.append(within(window, local) and not within(barred, local))
    minute = 0
    while minute < 1440:
        state = hours.look(first + minute * 60)
        until = min(1440, round((state.until - first) / 60))
        assert until > minute
        assert truth[minute:until] == [state.open] * (until - minute)
        minute = until
    opens = hours.opens_at(first)
    if True in truth:
        assert opens == first + truth.index(True) * 60
    else:
        assert opens is None or opens >= first + 86400


def test_the_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", NEW_YORK)
    time.tzset()
    try:
        hours = Hours("01:30-02:30")
        assert changes(hours, "2026-11-01 04:00", "2026-11-01 12:00") == changes(
            Hours("01:30-02:30", None, NEW_YORK), "2026-11-01 04:00", "2026-11-01 12:00"
        )
        assert hours.opens_at(utc("2026-11-01 06:10")) == utc("2026-11-01 06:30")
    finally:
        monkeypatch.undo()
        time.tzset()


# when it opens next


def test_opens_at() -> None:
    hours = Hours("mon-fri 9:00-17:00", "12:00-13:00; * * 24-26 12 *", BERLIN)
    friday = utc("2026-06-12 10:30")
    assert hours.opens_at(utc("2026-06-12 09:00")) == utc("2026-06-12 09:00"), "it is"
    assert hours.opens_at(friday) == utc("2026-06-12 11:00"), "after lunch"
    assert hours.opens_at(utc("2026-06-12 15:00")) == utc("2026-06-15 07:00"), "on Monday"
    assert hours.opens_at(utc("2026-12-23 20:00")) == utc("2026-12-28 08:00"), (
        "after the holidays, which end on a Saturday"
    )


def test_a_leap_day_and_never() -> None:
    assert Hours("* * 29 2 *", None, "UTC").opens_at(utc("2026-06-12 10:00")) == utc(
        "2028-02-29 00:00"
    )
    assert Hours("9:00-17:00", "0:00-24:00", "UTC").opens_at(utc("2026-06-12 10:00")) is None
    assert Hours("*/2 * * * *", "*/2 * * * *", "UTC").opens_at(utc("2026-06-12 10:00")) is None
    assert Hours("* * * * *", None, "UTC").opens_at(utc("2026-06-12 10:00")) == utc(
        "2026-06-12 10:00"
    )
    assert Hours(None, "* * * 1-11 *", "UTC").opens_at(utc("2026-06-12 10:00")) == utc(
        "2026-12-01 00:00"
    )
    assert Hours(None, "* * * * *", "UTC").opens_at(utc("2026-06-12 10:00")) is None


# the gate


def test_the_gate_goes_by_the_wall_and_answers_in_monotonic_time() -> None:
    clock = TwoClocks(utc("2026-06-12 06:59:30"), 5000.0)
    gate = Window("9:00-17:00", None, BERLIN, clock)
    assert gate.closed(5000.0)
    assert gate.fetchable(5000.0) == (0, 5030.0)
    assert gate.shut(5000.0) == ("closed", "its hours begin 2026-06-12 09:00:00 (Europe/Berlin)")
    clock.pass_by(29.9)
    assert gate.closed(clock.ticks)
    clock.pass_by(0.1)
    assert not gate.closed(clock.ticks)
    assert gate.fetchable(clock.ticks).room > 1000
    assert gate.shut(clock.ticks) is None
    assert gate.opens_at(utc("2026-06-12 15:00")) == utc("2026-06-13 07:00")


def test_the_gate_looks_again_every_minute_since_clocks_are_set() -> None:
    clock = TwoClocks(utc("2026-06-12 06:00"), 5000.0)
    gate = Window("9:00-17:00", None, BERLIN, clock)
    assert gate.fetchable(5000.0) == (0, 5000.0 + LOOK), "an hour to go; but it looks again before"
    clock.wall = utc("2026-06-12 07:30")
    assert gate.closed(5000.0 + LOOK - 1), "between looks it costs a comparison"
    assert not gate.closed(5000.0 + LOOK)
    clock.wall = utc("2026-06-12 06:00")
    assert gate.fetchable(5000.0 + 2 * LOOK).room == 0, "and back"


def test_the_gate_does_not_spin_at_the_moment_of_a_change() -> None:
    """The two clocks disagree by a microsecond: at the monotonic time of the opening, the wall does
    not show it yet."""
    clock = TwoClocks(utc("2026-06-12 06:59:59.999999"), 5000.0)
    gate = Window("9:00-17:00", None, BERLIN, clock)
    room, again = gate.fetchable(5000.0)
    assert room == 0
    assert again - 5000.0 == pytest.approx(0.001)


def test_the_gate_says_when_it_opens(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="fbcli.consumer")
    clock = TwoClocks(utc("2026-06-12 15:00"))
    gate = Window("mon-fri 9:00-17:00", None, BERLIN, clock)
    for _ in range(3):
        assert gate.closed(clock.ticks)
        clock.pass_by(LOOK)
    assert caplog.messages == [
        "outside the hours when it may run; they begin 2026-06-15 09:00:00 (Europe/Berlin)"
    ]
    clock.wall = utc("2026-06-15 07:00")
    clock.pass_by(LOOK)
    assert not gate.closed(clock.ticks)
    assert caplog.messages[1:] == ["inside the hours when it may run"]
    never = Window("9:00-10:00", "0:00-24:00", None, TwoClocks(0.0))
    assert never.closed(0.0)
    assert caplog.messages[2:] == ["outside the hours when it may run; they never begin"]
