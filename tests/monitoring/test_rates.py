"""How fast a count grows."""

from __future__ import annotations

from fbcli.monitoring.rates import WINDOW, Growth


def test_the_first_reading_tells_nothing() -> None:
    growth = Growth()
    assert growth.per_second(100.0, 7) == 0.0
    assert growth.per_second(100.0, 9) == 0.0


def test_it_is_how_much_was_added_a_second() -> None:
    growth = Growth()
    growth.per_second(100.0, 50)
    assert growth.per_second(102.0, 60) == 5.0
    assert growth.per_second(104.0, 60) == 2.5


def test_what_was_long_ago_does_not_count() -> None:
    growth = Growth()
    for second in range(5):
        growth.per_second(float(second), 100 * second)
    assert growth.per_second(4 + WINDOW, 400) == 0.0


def test_after_a_gap_it_goes_by_the_last_reading_before() -> None:
    growth = Growth()
    growth.per_second(0.0, 0)
    assert growth.per_second(10 * WINDOW, 1000) == 1000 / (10 * WINDOW)
