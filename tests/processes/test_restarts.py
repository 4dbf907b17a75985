"""How often something that ends by itself is started again."""

from __future__ import annotations

import pytest

from fbcli.clock import Backoff
from fbcli.processes.restarts import FIRST, LAST, STEADY, Restarts


def limit(tries: int = 3, *, for_good: bool = True) -> Restarts:
    return Restarts(tries, for_good=for_good, backoff=Backoff(FIRST, LAST, jitter=0))


def test_each_start_waits_longer() -> None:
    restarts = limit()
    assert restarts.start_in(100.0) == 0.0, "the first one at once"
    assert [restarts.failed(100.0) for _ in range(3)] == pytest.approx([0.2, 0.4, 0.8])
    assert restarts.start_in(100.0) == pytest.approx(0.8)
    assert restarts.start_in(100.8) == 0.0
    for _ in range(20):
        assert restarts.failed(200.0) <= LAST


def test_what_never_works_is_given_up() -> None:
    restarts = limit(tries=3)
    for hopeless in (False, False, True, True):
        restarts.failed(0.0)
        assert restarts.hopeless is hopeless
    assert not restarts.proven


def test_what_has_worked_is_started_for_ever() -> None:
    restarts = limit(tries=2)
    restarts.failed(0.0)
    restarts.worked()
    assert restarts.proven
    assert restarts.failed(0.0) == pytest.approx(FIRST), "it begins anew"
    for _ in range(10):
        restarts.failed(0.0)
    assert not restarts.hopeless


def test_unless_only_what_follows_counts() -> None:
    restarts = limit(tries=2, for_good=False)
    restarts.worked()
    restarts.failed(0.0)
    assert not restarts.hopeless
    restarts.worked()
    restarts.failed(0.0)
    assert not restarts.hopeless
    restarts.failed(0.0)
    assert restarts.hopeless


def test_a_long_life_forgets_what_was_before() -> None:
    restarts = limit(tries=3)
    for _ in range(5):
        assert restarts.failed(0.0, lived=STEADY + 1) == pytest.approx(FIRST)
    assert not restarts.hopeless
    restarts.failed(0.0, lived=STEADY - 1)
    assert restarts.failed(0.0) > 2 * FIRST
