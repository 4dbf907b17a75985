"""What every store must do about counters."""

from __future__ import annotations

from collections.abc import Callable

from fbcli.stores.base import Store
from fbcli.testing.store.ground import StoreGround
from fbcli.testing.store.samples import STRANGE
from fbcli.testing.waiting import wait_until


class CounterTests(StoreGround):
    def test_they_add_up_wherever_they_are_changed(
        self, store: Store, another: Callable[[], Store]
    ) -> None:
        assert store.count({"a": 1, STRANGE: -2}, 60) == [1, -2]
        assert another().count({STRANGE: 5, "a": 0, "b": 7}, 60) == [3, 1, 7]
        assert store.count({}, 60) == []

    def test_they_are_forgotten(self, store: Store) -> None:
        store.count({"a": 1, "b": 1, "c": 1}, 60)
        store.forget_counts(["a", "unknown"])
        store.forget_counts([])
        assert store.count({"a": 0, "b": 0, "c": 0}, 60) == [0, 1, 1]

    def test_they_are_forgotten_by_themselves(self, store: Store) -> None:
        store.count({"brief": 5}, 0.1)
        store.count({"long": 5}, 60)
        wait_until(lambda: store.count({"brief": 0}, 0.01) == [0], "it to be forgotten")
        assert store.count({"long": 1}, 60) == [6]
