"""What every store must do to steer consumers: limits, cancels, all news at once, and one rate for
many. Part of `StoreContract`."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from fbcli.stores.base import Limits, News, Store, Tokens
from tests.contract.store_samples import STRANGE, elsewhere, output_of
from tests.servers import wait_until


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


class LimitsContract:
    """`store`, `another`, `store_url` and `threads` are fixtures of `StoreContract`."""

    # limits
    def test_nothing_is_limited_at_first(self, store: Store) -> None:
        assert store.limits() == {}
        assert store.unlimit("q") is False

    def test_limits_hold_until_lifted(self, store: Store, another: Callable[[], Store]) -> None:
        store.limit("q", Limits(qps=0.5, qps_scope="cluster", concurrency=7))
        store.limit(STRANGE, Limits(concurrency="auto"))
        store.limit("none", Limits())
        assert another().limits() == {
            "q": Limits(qps=0.5, qps_scope="cluster", concurrency=7),
            STRANGE: Limits(concurrency="auto"),
            "none": Limits(),
        }
        assert another().unlimit("q") is True
        assert store.unlimit("q") is False
        assert set(store.limits()) == {STRANGE, "none"}

    def test_later_limits_replace_the_earlier(self, store: Store) -> None:
        store.limit("q", Limits(qps=5, concurrency=3))
        store.limit("q", Limits(qps=0))
        assert store.limits() == {"q": Limits(qps=0)}

    # cancels
    def test_cancels_are_known_until_they_are_served(
        self, store: Store, another: Callable[[], Store]
    ) -> None:
        assert set(store.cancels()) == set()
        store.request_cancel(["a", "b", STRANGE], 60)
        store.request_cancel(["c", "a"], 60)
        assert sorted(another().cancels()) == sorted(["a", "b", "c", STRANGE])
        another().end_cancels(["a", STRANGE, "unheard-of"])
        assert sorted(store.cancels()) == ["b", "c"]
        store.end_cancels([])
        store.request_cancel([], 60)
        assert sorted(store.cancels()) == ["b", "c"]

    def test_a_cancel_is_forgotten_after_its_ttl(self, store: Store) -> None:
        store.request_cancel(["prolonged"], 0.9)
        store.request_cancel(["brief"], 1)
        store.request_cancel(["kept", "prolonged"], 60)
        store.request_cancel(["never"], 0)
        assert set(store.cancels()) == {"brief", "kept", "prolonged"}
        wait_until(
            lambda: set(store.cancels()) == {"kept", "prolonged"}, "the cancel to be forgotten"
        )

    def test_many_cancels(self, store: Store) -> None:
        store.request_cancel([f"{n}" for n in range(5000)], 60)
        assert len(store.cancels()) == 5000
        store.end_cancels([f"{n}" for n in range(1, 5000)])
        assert set(store.cancels()) == {"0"}

    # news
    def test_no_news(self, store: Store) -> None:
        pauses, limits, cancels = store.news()
        assert (pauses, limits, set(cancels)) == ({}, {}, set())

    def test_news_are_all_that_is_set(self, store: Store, another: Callable[[], Store]) -> None:
        store.pause("p")
        store.pause("timed", 30)
        store.pause("ended", 0)
        store.limit("q", Limits(qps=3))
        store.request_cancel(["a", "b"], 60)
        store.request_cancel(["ended"], 0)
        news = another().news()
        assert isinstance(news, News)
        assert set(news.pauses) == {"p", "timed"}
        assert news.pauses["p"] is None
        assert 20 < (news.pauses["timed"] or 0) <= 30
        assert news.limits == {"q": Limits(qps=3)}
        assert set(news.cancels) == {"a", "b"}

    # one rate for many
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

    def test_processes_share_one_grid(self, store_url: str) -> None:
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
        processes = [elsewhere(store_url, code) for _ in range(4)]
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
