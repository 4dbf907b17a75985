"""The arithmetic of a shared rate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbcli.stores.grid import IDLE_SECONDS, Grid, forgotten_at, take

NOW = 1.7e9
TINY = 1e-5

rates = st.sampled_from([0.02, 1.0, 3.0, 7.5, 200.0, 10_000.0])
spans = st.floats(0, 2)


@given(
    qps=rates,
    asked=st.lists(st.tuples(st.floats(0, 3), st.integers(0, 50), spans, spans), max_size=30),
)
def test_slots_are_apart_and_near_the_time_they_are_asked_for(
    qps: float, asked: list[tuple[float, int, float, float]]
) -> None:
    now, grid, last = NOW, None, 0.0
    for passed, count, ahead, slack in asked:
        now += passed
        tokens, grid = take(grid, now, qps, count, ahead=ahead, slack=slack)
        assert 0 <= tokens.count <= count
        if tokens.count:
            first, final = now + tokens.wait, now + tokens.wait + (tokens.count - 1) / qps
            assert first >= last + 1 / qps - TINY
            assert first >= now - slack - TINY
            assert final <= now + ahead + TINY
            last = final
        elif count:
            assert tokens.wait > ahead


@given(qps=rates, count=st.integers(1, 50), passed=st.floats(0, 10), slack=spans)
def test_who_asks_again_in_time_loses_nothing(
    qps: float, count: int, passed: float, slack: float
) -> None:
    tokens, grid = take(None, NOW, qps, count, ahead=10_000, slack=slack)
    assert tokens == (count, 0)
    following = count / qps
    tokens, _ = take(grid, NOW + passed, qps, 1, ahead=10_000, slack=slack)
    if following >= passed - slack + TINY:
        assert tokens.wait == pytest.approx(following - passed, abs=TINY)
    elif following <= passed - slack - TINY:
        assert tokens == (1, 0)


def test_nothing_is_taken_when_nothing_is_wanted_or_near() -> None:
    _, grid = take(None, NOW, 2, 1, ahead=0, slack=0)
    assert take(grid, NOW, 2, 0, ahead=9, slack=0) == ((0, 0.5), grid)
    assert take(grid, NOW, 2, 9, ahead=0.25, slack=0) == ((0, 0.5), grid)
    assert take(None, NOW, 2, 0, ahead=9, slack=0) == ((0, 0), None)


def test_a_clock_that_is_put_back_takes_the_grid_with_it() -> None:
    _, grid = take(None, NOW, 2, 3, ahead=9, slack=0)
    assert take(grid, NOW - 3600, 2, 1, ahead=9, slack=0)[0].wait == pytest.approx(1.5)


def test_a_grid_is_remembered_for_a_while_after_its_next_slot() -> None:
    assert forgotten_at(Grid(NOW, NOW), 0.1) == NOW + 10 + IDLE_SECONDS
