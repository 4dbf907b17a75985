"""What every store must do about results."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from typing import Any

import pytest

from fbcli.stores.base import Result, Store
from fbcli.testing.store.ground import StoreGround
from fbcli.testing.store.samples import STRANGE, a_result, elsewhere, ids, output_of
from fbcli.testing.waiting import wait_until


class ResultTests(StoreGround):
    def test_a_result_comes_back_whole(self, store: Store, another: Callable[[], Store]) -> None:
        value = {
            "text": STRANGE,
            "numbers": [1, -2.5, 1e300, 2**60],
            "nothing": None,
            "deep": [[{"a": [True]}]],
        }
        saved = Result(
            "t", STRANGE, "failed", value, "ValueError", "no\n", "Traceback…", 3, 1.25, 2.5, "w"
        )
        store.save_results([saved], 60)
        assert another().result("t") == saved
        assert store.results(STRANGE) == [saved]

    def test_a_cancelled_task_has_a_result(self, store: Store) -> None:
        store.save_results([a_result(state="cancelled")], 60)
        assert store.result("t") == a_result(state="cancelled")

    def test_many_results_come_at_once(self, store: Store, another: Callable[[], Store]) -> None:
        assert store.results_of([]) == store.results_of(["unheard-of", STRANGE]) == {}
        saved = {f"{n} {STRANGE}": a_result(f"{n} {STRANGE}", value=n) for n in range(300)}
        store.save_results(list(saved.values()), 60)
        assert another().results_of(["unheard-of", *saved, *saved]) == saved

    def test_an_expired_result_is_not_among_many(self, store: Store) -> None:
        store.save_results([a_result("brief")], 0.2)
        store.save_results([a_result("kept")], 60)
        wait_until(
            lambda: set(store.results_of(["brief", "kept"])) == {"kept"}, "the result to expire"
        )

    def test_no_result_is_none(self, store: Store) -> None:
        assert store.result("unheard-of") is None
        assert store.results() == []
        assert store.results("unheard-of") == []
        store.save_results([], 60)

    def test_a_later_result_replaces_the_earlier(self, store: Store) -> None:
        store.save_results([a_result("a", value=1), a_result("b")], 60)
        store.save_results([a_result("a", value=2)], 60)
        assert store.result("a") == a_result("a", value=2)
        assert store.results() == store.results("q") == [a_result("a", value=2), a_result("b")]
        store.save_results([a_result("b", value=1), a_result("b", value=2)], 60)
        assert store.results() == [a_result("b", value=2), a_result("a", value=2)]

    def test_results_are_newest_first_and_per_queue(self, store: Store) -> None:
        for n in range(3):
            store.save_results([a_result(f"a{n}", "a"), a_result(f"b{n}", "b")], 60)
        assert ids(store.results()) == ["b2", "a2", "b1", "a1", "b0", "a0"]
        assert ids(store.results("a")) == ["a2", "a1", "a0"]
        assert ids(store.results("b", limit=2)) == ["b2", "b1"]
        assert ids(store.results(limit=1)) == ["b2"]
        assert store.results(limit=0) == []

    def test_a_large_batch_and_a_large_value(self, store: Store) -> None:
        store.save_results([a_result(f"t{n}", value=n) for n in range(2000)], 60)
        assert ids(store.results(limit=3)) == ["t1999", "t1998", "t1997"]
        assert len(store.results("q", limit=5000)) == 2000
        store.save_results([a_result("large", value="x" * 5_000_000)], 60)
        large = store.result("large")
        assert large is not None
        assert large.value == "x" * 5_000_000

    def test_a_result_is_kept_for_its_ttl(self, store: Store) -> None:
        store.save_results([a_result("brief")], 0.5)
        store.save_results([a_result("kept")], 60)
        assert store.result("brief") is not None
        assert ids(store.results()) == ["kept", "brief"]
        wait_until(lambda: store.result("brief") is None, "the result to expire")
        assert ids(store.results()) == ids(store.results("q", limit=1)) == ["kept"]
        assert store.wait_result("brief", 0) is None

    def test_expired_results_do_not_hide_the_kept_ones(self, store: Store) -> None:
        store.save_results([a_result("kept")], 60)
        store.save_results([a_result(f"brief{n}") for n in range(500)], 0.3)
        wait_until(lambda: store.result("brief499") is None, "the brief results to expire")
        assert ids(store.results(limit=2)) == ids(store.results("q", limit=2)) == ["kept"]

    def test_the_ttl_of_a_replaced_result_is_the_later_one(self, store: Store) -> None:
        store.save_results([a_result("longer"), a_result("mark")], 0.3)
        store.save_results([a_result("longer")], 60)
        store.save_results([a_result("shorter")], 60)
        store.save_results([a_result("shorter")], 0.3)
        wait_until(
            lambda: store.result("shorter") is store.result("mark") is None, "the results to expire"
        )
        assert ids(store.results()) == ["longer"]

    # waiting for a result
    def test_a_result_that_is_there_is_not_waited_for(self, store: Store) -> None:
        store.save_results([a_result()], 60)
        assert (
            store.wait_result("t", 0)
            == store.wait_result("t", 30)
            == store.wait_result("t", -1)
            == a_result()
        )

    def test_waiting_gives_up_after_its_timeout(self, store: Store) -> None:
        started = time.monotonic()
        assert store.wait_result("t", 0.2) is None
        assert 0.15 < time.monotonic() - started < 5
        assert store.wait_result("t", 0) is None

    def test_a_waiter_wakes_when_another_thread_saves(
        self, store: Store, threads: ThreadPoolExecutor
    ) -> None:
        waiter = threads.submit(store.wait_result, "t", 60)
        self._waits(waiter)
        store.save_results([a_result("other"), a_result(value=1)], 60)
        assert waiter.result(timeout=20) == a_result(value=1)

    def test_a_waiter_wakes_when_another_process_saves(
        self, store: Store, shared_url: str, threads: ThreadPoolExecutor
    ) -> None:
        waiter = threads.submit(store.wait_result, "t", 60)
        self._waits(waiter)
        output_of(
            elsewhere(shared_url, 'store.save_results([Result("t", "q", "succeeded", 1)], 60)')
        )
        assert waiter.result(timeout=20) == a_result(value=1)

    def test_all_who_wait_get_it(
        self, store: Store, another: Callable[[], Store], threads: ThreadPoolExecutor
    ) -> None:
        others = [another(), another()]
        waiters = [
            threads.submit(each.wait_result, "t", 20) for each in [store, store, *others, *others]
        ]
        for waiter in waiters:
            self._waits(waiter, 0.05)
        others[0].save_results([a_result()], 60)
        assert [waiter.result(timeout=10) for waiter in waiters] == [a_result()] * len(waiters)
        assert store.result("t") == a_result()
        assert store.results() == [a_result()]

    def test_a_crowd_that_waits_does_not_keep_others_from_saving(self, store: Store) -> None:
        with ThreadPoolExecutor(120) as crowd:
            waiters = [crowd.submit(store.wait_result, f"t{n}", 20) for n in range(120)]
            self._waits(waiters[-1])
            store.save_results([a_result(f"t{n}") for n in range(120)], 60)
            assert ids([waiter.result(timeout=10) for waiter in waiters]) == [
                f"t{n}" for n in range(120)
            ]

    def test_being_waited_for_does_not_prolong_a_result(
        self, store: Store, threads: ThreadPoolExecutor
    ) -> None:
        waiters = [threads.submit(store.wait_result, "t", 20) for _ in range(3)]
        self._waits(waiters[0])
        store.save_results([a_result()], 1)
        assert all(waiter.result(timeout=10) for waiter in waiters)
        wait_until(lambda: store.result("t") is None, "the result to expire")

    @staticmethod
    def _waits(waiter: Future[Any], seconds: float = 0.1) -> None:
        with pytest.raises(StillRunning):
            waiter.result(timeout=seconds)
