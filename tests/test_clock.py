"""How long is waited before what has failed is tried again."""

from __future__ import annotations

import pytest

from fbcli.clock import Backoff


def waits(backoff: Backoff, count: int) -> list[float]:
    return [backoff.failed() for _ in range(count)]


def test_each_wait_is_longer_up_to_the_longest() -> None:
    assert waits(Backoff(0.1, 1.0, jitter=0), 6) == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    assert waits(Backoff(1.0, 100.0, factor=3, jitter=0), 4) == [1, 3, 9, 27]


def test_success_begins_anew() -> None:
    backoff = Backoff(0.1, 1.0, jitter=0)
    assert backoff.failures == 0
    waits(backoff, 5)
    assert backoff.failures == 5
    backoff.succeeded()
    assert backoff.failures == 0
    assert waits(backoff, 2) == pytest.approx([0.1, 0.2])


@pytest.mark.parametrize(("chance", "share"), [(0.0, 1.0), (0.5, 0.75), (1.0, 0.5)])
def test_chance_shortens_a_wait_by_half_at_most(chance: float, share: float) -> None:
    backoff = Backoff(0.1, 1.0, chance=lambda: chance)
    assert waits(backoff, 3) == pytest.approx([0.1 * share, 0.2 * share, 0.4 * share])


def test_those_who_fail_together_do_not_come_back_together() -> None:
    assert len({Backoff().failed() for _ in range(100)}) > 50


def test_failures_without_end_are_no_trouble() -> None:
    backoff = Backoff(0.1, 5.0, jitter=0)
    backoff.failures = 10**9
    assert backoff.failed() == 5.0
