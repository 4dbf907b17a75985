"""Adaptive prefetch, with a clock of its own."""

from __future__ import annotations

import pytest

from fbcli.broker import Delivery
from fbcli.engine.prefetch import BATCH, HOLD_SECONDS, MOST_BYTES, MOST_MESSAGES, Prefetch


class FakeClock:
    at = 100.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


def fed(seconds: float, per_second: float, prefetch: int | None = None) -> Prefetch:
    """An prefetch that has seen calls of this length end at this rate."""
    clock = FakeClock()
    prefetch = Prefetch(prefetch, clock)
    for _ in range(50):
        clock.at += 0.1
        prefetch.learn([seconds] * max(1, int(per_second * 0.1)))
    return prefetch


def test_a_newcomer_holds_as_much_as_it_can_run() -> None:
    prefetch = Prefetch(None, FakeClock())
    assert prefetch.room(0, 16) == 16
    assert prefetch.room(16, 16) == 0
    assert not prefetch.brisk


def test_long_tasks_stay_in_the_broker() -> None:
    prefetch = fed(seconds=10.0, per_second=1.6)
    assert prefetch.goal(16) == 16
    assert prefetch.room(15, 16) == 1


def test_short_tasks_travel_in_batches_of_half_a_second_of_work() -> None:
    prefetch = fed(seconds=0.0005, per_second=2000)
    assert prefetch.brisk
    assert prefetch.goal(16) == pytest.approx(2000 * HOLD_SECONDS, rel=0.05)
    assert prefetch.room(0, 16) == BATCH
    assert prefetch.room(900, 16) == 0, "a round trip for a handful is not worth it"
    assert prefetch.goal(16) <= MOST_MESSAGES


def test_large_messages_are_not_hoarded() -> None:
    prefetch = fed(seconds=0.0001, per_second=9000)
    for _ in range(100):
        prefetch.weigh([Delivery(b"x" * 2_000_000, 0)])
    assert prefetch.goal(4) == pytest.approx(MOST_BYTES / 2_000_000, rel=0.1)


def test_a_fixed_prefetch_is_kept() -> None:
    prefetch = fed(seconds=0.0001, per_second=9000, prefetch=7)
    assert prefetch.room(0, 2) == 7
    assert prefetch.room(7, 2) == 0
