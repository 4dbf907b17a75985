"""What every store must do about one rate that many share."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from fbcli.stores.base import Store, Tokens
from fbcli.testing.store.ground import StoreGround
from fbcli.testing.store.samples import STRANGE, elsewhere, output_of
from fbcli.testing.waiting import wait_until


class Slot(NamedTuple):
    """A slot of a grid, by the wall clock: somewhere between these two times, since asking took a
    while."""

    earliest: float
    latest: float


def slots_of(
    store: Store, key: str, qps: float, count: int, *, ahead: float, slack: float = 60
) -> list[Slot]:
    """Take tokens, and return when they are due."""
    before = time.time()
    tokens = store.take_tokens(key, qps, count, ahead=ahead, slack=slack)
    after = time.time()
    first = [tokens.wait + number / qps for number in range(tokens.count)]
    return [Slot(before + wait, after + wait) for wait in first]


def assert_even(slots: list[Slot], qps: float) -> None:
    """No two slots are nearer than the rate allows, however long each asking took: n slots that are
    all surely after A have their last surely no earlier than A + (n - 1) / qps."""
    for first in slots:
        latest = sorted(slot.latest for slot in slots if slot.earliest >= first.earliest)
        for number, when in enumerate(latest):
            assert when >= first.earliest + number / qps - 1e-4  # the clocks' own steps


class RateTests(StoreGround):
    def test_the_first_slot_is_due_at_once(self, store: Store) -> None:
        count, wait = store.take_tokens("k", 2, 1, ahead=0, slack=0)
        assert (count, wait) == (1, 0)

    def test_slots_lie_evenly_side_by_side(
        self, store: Store, another: Callable[[], Store]
    ) -> None:
        slots = [
            slot
            for taker in (store, another(), store)
            for slot in slots_of(taker, STRANGE, 10, 4, ahead=100)
        ]
        assert len(slots) == 12
        for number, slot in enumerate(slots):
            assert slot.earliest <= slots[0].latest + number / 10 + 1e-4
            assert slot.latest >= slots[0].earliest + number / 10 - 1e-4

    def test_no_slot_is_handed_out_too_far_ahead(self, store: Store) -> None:
        assert store.take_tokens("k", 10, 1000, ahead=19.95, slack=0).count == 200
        refused = store.take_tokens("k", 10, 100, ahead=1, slack=0)
        assert refused.count == 0
        assert 1 < refused.wait <= 20
        assert store.take_tokens("k", 10, 1, ahead=60, slack=0).count == 1

    def test_what_is_refused_takes_nothing(self, store: Store) -> None:
        slots = slots_of(store, "k", 0.1, 1, ahead=0)
        for _ in range(3):
            assert store.take_tokens("k", 0.1, 5, ahead=0, slack=0).count == 0
            assert store.take_tokens("k", 0.1, 0, ahead=60, slack=0).count == 0
        slots += slots_of(store, "k", 0.1, 1, ahead=60)
        assert slots[1].earliest <= slots[0].latest + 10 + 1e-4

    def test_a_rate_below_one_a_second(self, store: Store) -> None:
        store.take_tokens("k", 0.02, 1, ahead=0, slack=0)
        refused = store.take_tokens("k", 0.02, 1, ahead=1, slack=0)
        assert refused.count == 0
        assert 40 < refused.wait <= 50

    def test_keys_have_grids_of_their_own(self, store: Store) -> None:
        store.take_tokens("a", 1, 10, ahead=60, slack=0)
        assert store.take_tokens("b", 1, 1, ahead=0, slack=0) == Tokens(1, 0)

    def test_idleness_is_not_made_up_for(self, store: Store) -> None:
        qps, slack = 100, 0.03
        first = slots_of(store, "k", qps, 1, ahead=0)[0]
        wait_until(lambda: time.time() > first.latest + 10 / qps + slack, "ten slots to be lost")
        again = slots_of(store, "k", qps, 1000, ahead=0, slack=slack)
        assert len(again) == 1
        assert again[0].latest - first.earliest > 10 / qps + slack

    def test_within_the_slack_no_slot_is_lost(self, store: Store) -> None:
        slots = slots_of(store, "k", 100, 1, ahead=0)
        wait_until(lambda: time.time() > slots[0].latest + 0.05, "five slots to be due")
        slots += slots_of(store, "k", 100, 10, ahead=60, slack=60)
        assert len(slots) == 11
        assert slots[1].earliest <= slots[0].latest + 0.01 + 1e-4

    def test_another_rate_goes_on_from_the_last_slot(self, store: Store) -> None:
        last = slots_of(store, "k", 10, 11, ahead=60)[-1]
        slower = slots_of(store, "k", 0.1, 1, ahead=60)[0]
        assert last.earliest + 10 - 1e-4 <= slower.latest
        assert slower.earliest <= last.latest + 10 + 1e-4
        quicker = slots_of(store, "k", 1000, 1, ahead=60)[0]
        assert slower.earliest + 0.001 - 1e-4 <= quicker.latest
        assert quicker.earliest <= slower.latest + 0.001 + 1e-4

    def test_a_slow_rate_does_not_hold_up_a_quick_one(self, store: Store) -> None:
        assert store.take_tokens("k", 0.001, 1, ahead=0, slack=0).count == 1
        assert store.take_tokens("k", 0.001, 1, ahead=0, slack=0).wait > 900
        assert store.take_tokens("k", 10, 1, ahead=0.2, slack=0).count == 1

    def test_a_grid_is_exact(self, store: Store) -> None:
        """Thousands of steps of a third of a millisecond, and the last is where it should be to a
        millisecond."""
        first, last = Slot(0, 0), Slot(0, 0)
        for number in range(300):
            slots = slots_of(store, "k", 3000, 10, ahead=60, slack=60)
            assert len(slots) == 10
            first, last = (slots[0] if number == 0 else first), slots[-1]
        assert (
            last.earliest - first.latest - 1e-3 < 2999 / 3000 < last.latest - first.earliest + 1e-3
        )

    def test_threads_share_one_grid(
        self, store: Store, another: Callable[[], Store], threads: ThreadPoolExecutor
    ) -> None:
        def take(taker: Store) -> list[Slot]:
            return [slot for _ in range(50) for slot in slots_of(taker, "k", 500, 3, ahead=60)]

        slots = [
            slot
            for share in threads.map(take, [store, store, another(), another()])
            for slot in share
        ]
        assert len(slots) == 600
        assert_even(slots, 500)

    def test_processes_share_one_grid(self, shared_url: str) -> None:
        """Four at once, as fast as they can: never more than the rate, and not much less."""
        qps, ahead, seconds = 200, 0.1, 0.8
        code = f"""
            print(time.time(), time.time())
            store.take_tokens("k", {qps}, 0, ahead=0, slack=0)
            end = time.monotonic() + {seconds}
            while time.monotonic() < end:
                before = time.time()
                tokens = store.take_tokens("k", {qps}, 5, ahead={ahead}, slack=0.05)
                after = time.time()
                for number in range(tokens.count):
                    print(
                        before + tokens.wait + number / {qps},
                        after + tokens.wait + number / {qps},
                    )
        """
        processes = [elsewhere(shared_url, code) for _ in range(4)]
        shares = [
            [Slot(*map(float, line.split())) for line in output_of(process).splitlines()]
            for process in processes
        ]
        began = min(share[0].earliest for share in shares)
        slots = [slot for share in shares for slot in share[1:]]
        ended = max(slot.latest for slot in slots)
        assert_even(slots, qps)
        assert 0.2 * qps * seconds < len(slots) <= qps * (ended - began) + 1

    @pytest.mark.parametrize("key", ["", "{}", "}{", STRANGE])
    def test_any_key_will_do(self, store: Store, key: str) -> None:
        assert store.take_tokens(key, 0.01, 1, ahead=0, slack=0).count == 1
        assert store.take_tokens(key, 0.01, 1, ahead=0, slack=0).count == 0
