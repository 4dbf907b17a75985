"""Adaptive prefetch, with a clock of its own."""

from __future__ import annotations

import pytest

from fbcli.broker import Delivery
from fbcli.engine.appetite import BATCH, HOLD_SECONDS, MOST_BYTES, MOST_MESSAGES, Appetite


class FakeClock:
    at = 100.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


def fed(seconds: float, per_second: float, prefetch: int | None = None) -> Appetite:
    """An appetite that has seen calls of this length end at this rate."""
    clock = FakeClock()
    appetite = Appetite(prefetch, clock)
    for _ in range(50):
        clock.at += 0.1
        appetite.learn([seconds] * max(1, int(per_second * 0.1)))
    return appetite


def test_a_newcomer_holds_as_much_as_it_can_run() -> None:
    appetite = Appetite(None, FakeClock())
    assert appetite.room(0, 16) == 16
    assert appetite.room(16, 16) == 0
    assert not appetite.brisk


def test_long_tasks_stay_in_the_broker() -> None:
    appetite = fed(seconds=10.0, per_second=1.6)
    assert appetite.goal(16) == 16
    assert appetite.room(15, 16) == 1


def test_short_tasks_travel_in_batches_of_half_a_second_of_work() -> None:
    appetite = fed(seconds=0.0005, per_second=2000)
    assert appetite.brisk
    assert appetite.goal(16) == pytest.approx(2000 * HOLD_SECONDS, rel=0.05)
    assert appetite.room(0, 16) == BATCH
    assert appetite.room(900, 16) == 0, "a round trip for a handful is not worth it"
    assert appetite.goal(16) <= MOST_MESSAGES


def test_large_messages_are_not_hoarded() -> None:
    appetite = fed(seconds=0.0001, per_second=9000)
    for _ in range(100):
        appetite.weigh([Delivery(b"x" * 2_000_000, 0)])
    assert appetite.goal(4) == pytest.approx(MOST_BYTES / 2_000_000, rel=0.1)


def test_a_fixed_prefetch_is_kept() -> None:
    appetite = fed(seconds=0.0001, per_second=9000, prefetch=7)
    assert appetite.room(0, 2) == 7
    assert appetite.room(7, 2) == 0
