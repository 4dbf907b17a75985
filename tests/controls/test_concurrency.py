"""Concurrency that finds its own level, against simulated backends in simulated time."""

from __future__ import annotations

import heapq
import math
import random
import statistics
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbcli.controls.concurrency import PERIOD, AutoConcurrency

LOOK = 0.25
"""Seconds between two looks, as the intake has it."""

Work = Callable[[random.Random], float]
"""Seconds that a call takes which has the backend to itself: 0.1 on average."""

ALIKE: Work = lambda chance: 0.1  # noqa: E731
SCATTERED: Work = lambda chance: chance.expovariate(10)  # noqa: E731
TWO_KINDS: Work = lambda chance: 0.01 if chance.random() < 0.5 else 0.19  # noqa: E731
WITH_OUTLIERS: Work = lambda chance: 0.07 if chance.random() < 0.99 else 3.0  # noqa: E731
WORKS = {"alike": ALIKE, "scattered": SCATTERED, "two kinds": TWO_KINDS, "outliers": WITH_OUTLIERS}


class Point(NamedTuple):
    at: float
    level: int
    done: int


class LimitsInForce(list[Point]):
    """What happened, look by look."""

    def between(self, begin: float, end: float) -> LimitsInForce:
        return LimitsInForce(point for point in self if begin <= point.at <= end)

    @property
    def level(self) -> float:
        return statistics.median(point.level for point in self)

    @property
    def highest(self) -> int:
        return max(point.level for point in self)

    @property
    def throughput(self) -> float:
        return (self[-1].done - self[0].done) / (self[-1].at - self[0].at)


class SharedBackend:
    """Calls share so many processors evenly: a call among twice as many takes twice as long. (So do
    threads that compute in Python, which have one.)"""

    def __init__(self, places: Callable[[float], float]) -> None:
        self._places = places
        self._worked = 0.0
        """Seconds of work that each call has got since the beginning."""
        self._running: list[tuple[float, float]] = []

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, work: float, now: float) -> None:
        heapq.heappush(self._running, (self._worked + work, now))

    def _pace(self, now: float) -> float:
        return min(1.0, self._places(now) / len(self._running))

    def next_end(self, now: float) -> float:
        return (
            now + (self._running[0][0] - self._worked) / self._pace(now)
            if self._running
            else math.inf
        )

    def advance(self, begin: float, end: float) -> None:
        if self._running:
            self._worked += (end - begin) * self._pace(begin)

    def end(self) -> float:
        """Take out the call that has ended; return when it began."""
        self._worked, began = heapq.heappop(self._running)
        return began


class QueueingBackend:
    """Calls wait in line until one of so many places is free."""

    def __init__(self, places: Callable[[float], float]) -> None:
        self._places = places
        self._line: list[tuple[float, float]] = []
        self._served: list[tuple[float, float]] = []

    def __len__(self) -> int:
        return len(self._line) + len(self._served)

    def begin(self, work: float, now: float) -> None:
        self._line.append((work, now))

    def next_end(self, now: float) -> float:
        while self._line and len(self._served) < self._places(now):
            work, began = self._line.pop(0)
            heapq.heappush(self._served, (now + work, began))
        return self._served[0][0] if self._served else math.inf

    def advance(self, begin: float, end: float) -> None:
        pass

    def end(self) -> float:
        return heapq.heappop(self._served)[1]


def simulate(
    auto: AutoConcurrency,
    backend: SharedBackend | QueueingBackend,
    work: Callable[[random.Random, float], float],
    seconds: float,
    *,
    waiting: int = 1000,
    seed: int = 1,
) -> LimitsInForce:
    """Have the backend called by as many at once as `auto` says, with always more to do."""
    chance = random.Random(seed)
    course, ended = LimitsInForce(), list[float]()
    now = look = 0.0
    done = 0
    while now < seconds:
        end = backend.next_end(now)
        if end <= look:
            backend.advance(now, end)
            now = end
            ended.append(now - backend.end())
            done += 1
        else:
            backend.advance(now, look)
            now = look
            look += LOOK
            if ended:
                auto.learn(ended, now)
                ended = []
            auto.size(now, len(backend), waiting)
            course.append(Point(now, auto.level, done))
        while len(backend) < auto.level:
            backend.begin(work(chance, now), now)
    return course


def always(work: Work) -> Callable[[random.Random, float], float]:
    return lambda chance, now: work(chance)


@pytest.mark.parametrize("name", WORKS)
@pytest.mark.parametrize("kind", [SharedBackend, QueueingBackend])
def test_a_backend_with_twenty_places(
    kind: type[SharedBackend | QueueingBackend], name: str
) -> None:
    course = simulate(AutoConcurrency(), kind(lambda now: 20.0), always(WORKS[name]), 180)
    settled = course.between(60, 180)
    assert 16 <= settled.level <= 45
    assert settled.highest <= 80
    assert settled.throughput >= 0.9 * 200


def test_no_limit_is_found_where_there_is_none() -> None:
    course = simulate(
        AutoConcurrency(most=300), SharedBackend(lambda now: math.inf), always(SCATTERED), 60
    )
    assert course.between(40, 60).level == 300
    slow = simulate(
        AutoConcurrency(most=1000),
        SharedBackend(lambda now: math.inf),
        lambda chance, now: 3.0,
        300,
    )
    assert slow[-1].level == 1000, "calls of three seconds, too"


@pytest.mark.parametrize("name", WORKS)
def test_calls_that_compute_in_python_stay_few(name: str) -> None:
    course = simulate(AutoConcurrency(), SharedBackend(lambda now: 1.0), always(WORKS[name]), 240)
    settled = course.between(120, 240)
    assert settled.level <= 8
    assert settled.highest <= 12
    assert settled.throughput >= 0.85 * 10


@pytest.mark.parametrize("name", ["alike", "scattered"])
def test_a_backend_that_loses_and_gains_places(name: str) -> None:
    course = simulate(
        AutoConcurrency(),
        SharedBackend(lambda now: 20.0 if now < 80 else 5.0 if now < 160 else 40.0),
        always(WORKS[name]),
        260,
    )
    assert course.between(110, 160).level <= 30, "found again within sixty periods"
    assert course.between(110, 160).throughput >= 0.85 * 50
    assert 32 <= course.between(200, 260).level <= 95
    assert course.between(200, 260).throughput >= 0.9 * 400


def test_work_that_becomes_slower_by_itself_is_no_reason_to_do_less() -> None:
    def work(chance: random.Random, now: float) -> float:
        return chance.uniform(0.08, 0.12) * (1 if now < 30 else 10)

    course = simulate(AutoConcurrency(most=100), SharedBackend(lambda now: math.inf), work, 120)
    assert course.between(25, 30).level == 100
    assert course[-1].level == 100
    assert course.between(70, 120).throughput >= 0.9 * 100


def test_long_calls_with_nothing_at_hand() -> None:
    """Whoever has long calls fetches one when a slot is free: all slots taken is a wish for
    more."""
    course = simulate(
        AutoConcurrency(most=50),
        SharedBackend(lambda now: math.inf),
        lambda chance, now: 2.0,
        300,
        waiting=0,
    )
    assert course[-1].level == 50


def watch(
    auto: AutoConcurrency,
    running: int,
    seconds: float,
    periods: int,
    waiting: int = 0,
    now: float = 0.0,
) -> float:
    """Have so many periods pass with calls that take `seconds`."""
    for _ in range(periods * 4):
        auto.learn([seconds] * 10, now)
        auto.size(now, running, waiting)
        now += max(PERIOD, seconds) / 2
    return now


def test_it_does_not_grow_while_slots_are_free() -> None:
    auto = AutoConcurrency(start=10)
    now = watch(auto, running=9, seconds=0.1, periods=20)
    assert auto.level == 10
    now = watch(auto, running=7, seconds=0.1, periods=20, waiting=5, now=now)
    assert auto.level == 10
    watch(auto, running=10, seconds=0.1, periods=1, now=now)
    assert auto.level > 10


def test_it_holds_between_slow_and_too_slow() -> None:
    auto = AutoConcurrency(start=10)
    now = watch(auto, running=6, seconds=0.1, periods=4)
    watch(auto, running=10, seconds=0.17, periods=2, now=now)
    assert auto.level == 10


@pytest.mark.parametrize(("ended", "goes_on"), [(40, True), (10, False)])
def test_calls_that_take_longer_are_welcome_where_more_of_them_end(
    ended: int, goes_on: bool
) -> None:
    auto = AutoConcurrency(start=10)
    now = 0.0
    for count, seconds in ((10, 0.1), (ended, 0.3)):
        for _ in range(4):
            auto.learn([seconds] * count, now)
            auto.size(now, auto.level, 100)
            now += LOOK
    assert (auto.level >= 10) is goes_on


def test_it_keeps_its_bounds() -> None:
    assert AutoConcurrency(start=4, most=2).level == 2
    assert AutoConcurrency(start=1, most=50, least=3).level == 3
    assert AutoConcurrency().size(0.0, 0, 0) == 4


@given(
    st.integers(1, 50),
    st.integers(1, 50),
    st.lists(
        st.tuples(
            st.lists(st.floats(0, 1e6), max_size=30),
            st.floats(0.0, 100.0),
            st.integers(0, 2000),
            st.integers(0, 2000),
        ),
        max_size=100,
    ),
)
def test_whatever_it_learns_it_stays_within_bounds(
    start: int, most: int, looks: list[tuple[list[float], float, int, int]]
) -> None:
    auto = AutoConcurrency(start, most)
    now = 0.0
    for seconds, pause, running, waiting in looks:
        auto.learn(seconds, now)
        now += pause
        assert 1 <= auto.size(now, running, waiting) <= most
