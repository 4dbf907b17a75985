"""What every store must do about pauses, and the records of consumers."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from fbcli.stores.base import Counts, Store
from fbcli.testing.store.ground import StoreGround
from fbcli.testing.store.samples import STRANGE, a_record
from fbcli.testing.waiting import wait_until


class PauseTests(StoreGround):
    def test_nothing_is_paused_at_first(self, store: Store) -> None:
        assert store.pauses() == {}
        assert store.resume("q") is False

    def test_a_pause_lasts_until_resumed(self, store: Store, another: Callable[[], Store]) -> None:
        store.pause("q")
        assert another().pauses() == {"q": None}
        assert another().resume("q") is True
        assert store.pauses() == {}
        assert store.resume("q") is False

    def test_a_timed_pause_tells_the_seconds_left(self, store: Store) -> None:
        store.pause("q", 30)
        left = store.pauses()["q"]
        assert left is not None
        assert 20 < left <= 30

    def test_a_timed_pause_ends_by_itself(self, store: Store) -> None:
        store.pause("brief", 0.5)
        store.pause("long", 30)
        store.pause("open")
        assert set(store.pauses()) == {"brief", "long", "open"}
        wait_until(lambda: set(store.pauses()) == {"long", "open"}, "the brief pause to end")
        assert store.resume("brief") is False

    def test_an_ended_pause_was_none(self, store: Store) -> None:
        store.pause("q", 0)
        assert store.resume("q") is False
        store.pause("q", -1)
        assert store.pauses() == {}

    def test_a_later_pause_replaces_the_earlier(self, store: Store) -> None:
        store.pause("q", 0.1)
        store.pause("q")
        store.pause("r")
        store.pause("r", 30)
        store.pause("s", 0.1)
        wait_until(lambda: "s" not in store.pauses(), "the pause of s to end")
        pauses = store.pauses()
        assert pauses["q"] is None
        assert pauses["r"] is not None


class ConsumerTests(StoreGround):
    def test_consumers_are_those_that_beat(
        self, store: Store, another: Callable[[], Store]
    ) -> None:
        assert store.consumers() == []
        before = time.time()
        b = a_record(
            "b", queue=STRANGE, counts=Counts(succeeded=3), running=["t", STRANGE], qps=0.5
        )
        store.beat([b], 60)
        store.beat([a_record("a")], 60)
        found = another().consumers()
        a_beat, b_beat = (record.beat for record in found)
        assert found == [a_record("a", beat=a_beat), msgspec.structs.replace(b, beat=b_beat)]
        assert before - 1 < b_beat <= a_beat < time.time() + 1

    def test_all_consumers_of_a_process_beat_at_once(self, store: Store) -> None:
        store.beat([], 60)
        store.beat([a_record(f"{n}", queue=f"q{n}") for n in range(100)], 60)
        assert {record.queue for record in store.consumers()} == {f"q{n}" for n in range(100)}
        store.retire([f"{n}" for n in range(1, 100)])
        store.retire([])
        assert [record.consumer_id for record in store.consumers()] == ["0"]

    def test_a_beat_replaces_the_earlier(self, store: Store) -> None:
        store.beat([a_record(pid=1)], 60)
        (earlier,) = store.consumers()
        store.beat([a_record(pid=2)], 60)
        (later,) = store.consumers()
        assert later.pid == 2
        assert later.beat > earlier.beat

    def test_the_beat_is_the_stores_to_set(self, store: Store) -> None:
        record = a_record(beat=7.0)
        store.beat([record], 60)
        assert store.consumers()[0].beat > 1e9
        assert record.beat == 7.0

    def test_a_silent_consumer_is_forgotten(self, store: Store) -> None:
        store.beat([a_record("kept")], 60)
        store.beat([a_record("silent")], 0.5)
        assert len(store.consumers()) == 2
        wait_until(
            lambda: [record.consumer_id for record in store.consumers()] == ["kept"],
            "the silent one to go",
        )
        store.beat([a_record("silent")], 60)
        assert len(store.consumers()) == 2

    def test_beating_keeps_a_consumer(self, store: Store) -> None:
        store.beat([a_record()], 0.3)
        store.beat([a_record("mark")], 0.3)
        store.beat([a_record()], 60)
        wait_until(lambda: len(store.consumers()) == 1, "the mark to go")
        assert store.consumers()[0].consumer_id == "w"

    def test_a_retired_consumer_is_forgotten_at_once(self, store: Store) -> None:
        store.beat([a_record("a")], 60)
        store.beat([a_record("b")], 60)
        store.retire(["a", "unheard-of"])
        assert [record.consumer_id for record in store.consumers()] == ["b"]
