"""Times as a person reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbcli.console.times import ago, due, local, span


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0s"),
        (0, "0s"),
        (0.04, "0s"),
        (0.42, "0.4s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m"),
        (61, "1m 1s"),
        (3599.7, "1h"),
        (3660, "1h 1m"),
        (3661, "1h 1m"),
        (86400 * 3 + 7200, "3d 2h"),
        (86400 * 4000, "4,000d"),
        (float("inf"), "centuries"),
    ],
)
def test_span(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


def test_moments() -> None:
    assert ago(None, 100.0) is None
    assert ago(90.0, 100.0) == "10s ago"
    assert due(90.0, 100.0) == "now"
    assert due(1e12, 100.0) == "in more than ten years"
    assert due(1_000_000_060.0, 1_000_000_000.0).endswith("(in 1m)")


@given(st.floats(allow_nan=False))
def test_no_number_is_too_strange(moment: float) -> None:
    local(moment)
    due(moment, 1e9)
    ago(moment, 1e9)
