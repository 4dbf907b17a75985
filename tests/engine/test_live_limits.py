"""What governs a consumer: its options, and over them the limits of the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fbcli.controls.base import Gate, Place
from fbcli.controls.concurrency import AutoConcurrency
from fbcli.controls.fleet_rate import FleetRate
from fbcli.controls.pause import Pause
from fbcli.controls.rate import Rate
from fbcli.engine.gates import Gates
from fbcli.engine.live_limits import LimitsInForce, LiveLimits
from fbcli.stores import open_store
from fbcli.stores.base import Limits, Store
from tests.engine.factories import Clock, options


class Watched(Gates):
    """`Gates` whose gates can be seen."""

    @property
    def gates(self) -> tuple[Gate, ...]:
        return self._gates


class Wheel:
    """A live_limits, and what it did."""

    def __init__(self, store: Store, slots: int = 16, **given: Any) -> None:
        self.gates, self.pause, self.wakes = Watched(), Pause(), 0
        self.sizes: list[tuple[int, AutoConcurrency | None]] = []
        self.live_limits = LiveLimits(
            options(**given),
            Place("q", store, "me", 5.0, Clock(), self.wake),
            slots=slots,
            pause=self.pause,
            always=[],
            gates=self.gates,
            resize=lambda size, level: self.sizes.append((size, level)),
        )

    def wake(self) -> None:
        self.wakes += 1

    def apply(self, limits: Limits | None = None) -> LimitsInForce:
        self.live_limits.apply(limits)
        assert self.live_limits.in_force is not None
        assert self.gates.gates[0] is self.pause, "it holds whatever the limits are"
        return self.live_limits.in_force

    @property
    def rate(self) -> Gate | None:
        _, *others = self.gates.gates
        return others[0] if others else None


@pytest.fixture
def wheel(tmp_path: Path) -> Iterator[Callable[..., Wheel]]:
    with closing(open_store(f"sqlite:///{tmp_path}/store.db")) as store:
        yield lambda *args, **given: Wheel(store, *args, **given)


def test_by_the_options_alone(
    wheel: Callable[..., Wheel], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        at = wheel()
        assert at.apply() == LimitsInForce(None, "process", 16)
        assert at.rate is None
        assert at.sizes == [(16, None)]
        assert at.wakes == 1
        at.apply()
        assert (at.sizes, at.wakes) == ([(16, None)], 1), "nothing new"
    assert not caplog.records, "nobody has set anything"


def test_a_rate_of_the_process(wheel: Callable[..., Wheel]) -> None:
    at = wheel(qps=5, concurrency=3)
    assert at.apply() == LimitsInForce(5.0, "process", 3)
    assert isinstance(at.rate, Rate)
    assert at.rate.startable(0.0, 9).again == 0.2
    assert at.sizes == [(3, None)]


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"qps_scope": "cluster"}, "queue:q"),
        ({"qps_group": "api"}, "group:api"),
        ({"qps_group": "api", "qps_scope": "cluster"}, "group:api"),
    ],
)
def test_a_rate_of_the_fleet(wheel: Callable[..., Wheel], given: dict[str, str], key: str) -> None:
    at = wheel(qps=5, **given)
    assert at.apply() == LimitsInForce(5.0, "cluster", 16)
    assert isinstance(at.rate, FleetRate)
    assert (at.rate.key, at.rate.qps) == (key, 5.0)


def test_limits_come_before_options_and_go_again(
    wheel: Callable[..., Wheel], caplog: pytest.LogCaptureFixture
) -> None:
    at = wheel(qps=5, concurrency=3)
    at.apply()
    with caplog.at_level(logging.WARNING):
        assert at.apply(Limits(qps=0.5, qps_scope="cluster", concurrency=8)) == LimitsInForce(
            0.5, "cluster", 8
        )
        shared = at.rate
        assert isinstance(shared, FleetRate)
        assert at.sizes[-1] == (8, None)
        assert at.apply(Limits(concurrency=8)) == LimitsInForce(5.0, "process", 8)
        assert isinstance(at.rate, Rate)
        assert shared._closed, "its thread ends"
        assert at.apply(Limits(qps=0)) == LimitsInForce(None, "process", 3)
        assert at.rate is None
        assert at.apply() == LimitsInForce(5.0, "process", 3)
    assert [record.message for record in caplog.records] == [
        "q: from now on 0.5 a second over all processes, concurrency 8",
        "q: from now on 5 a second, concurrency 8",
        "q: from now on no rate limit, concurrency 3",
        "q: from now on 5 a second, concurrency 3",
    ]
    assert at.wakes == 5


def test_what_does_not_change_stays_as_it_is(wheel: Callable[..., Wheel]) -> None:
    """A new rate would begin its grid anew, and a new level its search."""
    at = wheel(qps=5, concurrency="auto")
    at.apply()
    rate = at.rate
    at.apply(Limits(concurrency=8))
    assert at.rate is rate
    at.apply(Limits(concurrency="auto"))
    sizes = len(at.sizes)
    at.apply(Limits(qps=7, concurrency="auto"))
    assert len(at.sizes) == sizes
    assert at.rate is not rate


def test_a_level_that_is_found_automatically(wheel: Callable[..., Wheel]) -> None:
    at = wheel(4, concurrency="auto")
    assert at.apply().concurrency == "auto"
    ((size, level),) = at.sizes
    assert size == 4
    assert isinstance(level, AutoConcurrency)
    assert level.level == 4
    at.apply(Limits(concurrency=9))
    assert at.sizes[-1] == (9, None)


def test_one_at_a_time_stays_one_at_a_time(wheel: Callable[..., Wheel]) -> None:
    """Mode solo is for functions that must not run side by side."""
    at = wheel(1, mode="solo", concurrency=8)
    assert at.apply().concurrency == 1
    assert at.apply(Limits(concurrency=5)).concurrency == 1
    assert at.apply(Limits(concurrency="auto")).concurrency == 1
    assert at.sizes == [(1, None)]
