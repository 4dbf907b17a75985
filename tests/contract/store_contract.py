"""What every store must do. Subclass `StoreContract`, give it a `store_url` and an
`unreachable_url`: pytest does the rest.

Expiry is tested in real time with short spans, since it is the store's own clock that counts;
everything else waits for conditions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from typing import Any

import msgspec
import pytest

from fbcli.errors import Unavailable
from fbcli.stores import open_store
from fbcli.stores.base import Counts, Parked, Result, Store
from tests.contract.store_claims import ClaimsContract
from tests.contract.store_limits import LimitsContract
from tests.contract.store_samples import (
    EVERY_VERB,
    STRANGE,
    a_message,
    a_record,
    a_result,
    elsewhere,
    ids,
    output_of,
)
from tests.servers import wait_until


def take(store: Store, count: int, queue: str = "q") -> list[Parked]:
    """Wait for `count` messages to be due, and return them."""
    taken: list[Parked] = []

    def enough() -> bool:
        taken.extend(store.due(queue, "amqp", 10, 60))
        return len(taken) >= count

    wait_until(enough, f"{count} messages to be due")
    return taken


class StoreContract(ClaimsContract, LimitsContract):
    """Every verb, its expiry, its concurrency, and what happens when the store cannot be
    reached."""

    @pytest.fixture
    def store_url(self) -> str:
        raise NotImplementedError("say where the store under test is; it must be empty")

    @pytest.fixture
    def unreachable_url(self) -> str:
        raise NotImplementedError("say where no store can be reached")

    @pytest.fixture
    def another(self, store_url: str) -> Iterator[Callable[[], Store]]:
        """Open one more store on the same URL, as another process would."""
        opened: list[Store] = []

        def open_one() -> Store:
            opened.append(open_store(store_url))
            return opened[-1]

        yield open_one
        for store in opened:
            store.close()

    @pytest.fixture
    def store(self, another: Callable[[], Store]) -> Store:
        return another()

    @pytest.fixture
    def threads(self) -> Iterator[ThreadPoolExecutor]:
        with ThreadPoolExecutor(16) as pool:
            yield pool

    # pauses
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

    # results
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
        self, store: Store, store_url: str, threads: ThreadPoolExecutor
    ) -> None:
        waiter = threads.submit(store.wait_result, "t", 60)
        self._waits(waiter)
        output_of(
            elsewhere(store_url, 'store.save_results([Result("t", "q", "succeeded", 1)], 60)')
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

    # consumers
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

    # parked messages
    def test_a_message_waits_until_it_is_due(
        self, store: Store, another: Callable[[], Store]
    ) -> None:
        message = a_message(due=time.time() + 0.5, queue=STRANGE, body=b"\x00\xff{\n", priority=7)
        store.park([message])
        assert store.due(STRANGE, "amqp", 10, 60) == []
        assert take(another(), 1, STRANGE) == [message]
        assert time.time() >= message.due - 0.01
        assert store.unpark(STRANGE, "amqp", [message.parked_id]) == 1

    def test_due_messages_come_soonest_first(self, store: Store) -> None:
        store.park(
            [
                a_message("c", 30.0),
                a_message("a", 10.0),
                a_message("later", 9e9),
                a_message("b", 20.5),
            ]
        )
        assert ids(store.due("q", "amqp", 2, 60)) == ["a", "b"]
        assert ids(store.due("q", "amqp", 10, 60)) == ["c"]
        assert store.due("q", "amqp", 0, 60) == []

    def test_a_leased_message_is_handed_to_nobody_else(
        self, store: Store, another: Callable[[], Store]
    ) -> None:
        store.park([a_message()])
        assert ids(store.due("q", "amqp", 10, 30)) == ["m"]
        assert another().due("q", "amqp", 10, 30) == []
        assert store.due("q", "amqp", 10, 30) == []
        assert another().parked_count("q", "amqp") == 1

    def test_a_message_is_handed_out_again_after_its_lease(
        self, store: Store, another: Callable[[], Store]
    ) -> None:
        store.park([a_message("c", 3.0), a_message("b", 2.0), a_message("a", 1.0)])
        started = time.monotonic()
        assert ids(store.due("q", "amqp", 10, 0.3)) == ["a", "b", "c"]
        again = take(another(), 3)
        assert time.monotonic() - started > 0.25
        assert ids(again) == ["a", "b", "c"]
        assert again[0].due == 1.0

    def test_an_unparked_message_is_gone(self, store: Store) -> None:
        store.park([a_message("a"), a_message("b")])
        taken = store.due("q", "amqp", 1, 0.1)
        assert store.unpark("q", "amqp", ids(taken)) == 1
        assert store.unpark("q", "amqp", [*ids(taken), "unheard-of"]) == 0
        assert store.unpark("q", "amqp", []) == 0
        assert ids(store.parked("q", "amqp", 10)) == ["b"]
        assert ids(store.due("q", "amqp", 10, 60)) == ["b"]

    def test_a_waiting_message_can_be_cancelled(
        self, store: Store, another: Callable[[], Store]
    ) -> None:
        soon = time.time() + 0.2
        store.park([a_message("cancelled", soon), a_message("kept", soon)])
        assert another().unpark("q", "amqp", ["cancelled"]) == 1
        assert ids(take(store, 1)) == ["kept"]

    def test_waiting_messages_are_shown_and_counted(self, store: Store) -> None:
        assert store.parked("q", "amqp", 10) == []
        assert store.parked_count("q", "amqp") == 0
        messages = [
            a_message("b", 8e9),
            a_message("a", 7e9, body=b"a", priority=3),
            a_message("c", 9e9),
        ]
        store.park(messages)
        store.park([])
        assert store.parked("q", "amqp", 2) == [messages[1], messages[0]]
        assert store.parked("q", "amqp", 2) == [messages[1], messages[0]]
        assert store.parked("q", "amqp", 0) == []
        assert store.parked_count("q", "amqp") == 3
        assert store.due("q", "amqp", 10, 60) == []

    def test_a_message_never_goes_to_another_scheme_or_queue(self, store: Store) -> None:
        store.park(
            [
                a_message("a"),
                a_message("k", scheme="kafka"),
                a_message("r", queue="r"),
                a_message("k"),
            ]
        )
        assert ids(store.parked("q", "kafka", 10)) == ["k"]
        assert store.unpark("q", "kafka", ["a"]) == 0
        assert ids(store.due("q", "kafka", 10, 60)) == ["k"]
        assert store.due("q", "sqs", 10, 60) == []
        assert ids(store.due("r", "amqp", 10, 60)) == ["r"]
        assert store.unpark("q", "kafka", ["k"]) == 1
        assert store.parked_count("q", "kafka") == 0
        assert ids(store.due("q", "amqp", 10, 60)) == ["a", "k"]

    def test_queues_with_waiting_messages_are_known(
        self, store: Store, another: Callable[[], Store]
    ) -> None:
        assert list(store.parked_queues("amqp")) == []
        store.park(
            [
                a_message("a"),
                a_message("b", queue="r"),
                a_message("c", queue=STRANGE),
                a_message("k", scheme="kafka"),
            ]
        )
        store.park([a_message("d")])
        assert sorted(another().parked_queues("amqp")) == sorted(["q", "r", STRANGE])
        assert list(store.parked_queues("kafka")) == ["q"]
        store.unpark("r", "amqp", ["b"])
        assert sorted(store.parked_queues("amqp")) == sorted(["q", STRANGE])

    def test_a_message_parked_again_is_one_message(self, store: Store) -> None:
        store.park([a_message(due=8e9, body=b"1")])
        store.park([a_message(due=2.0, body=b"2")])
        assert store.parked_count("q", "amqp") == 1
        assert store.due("q", "amqp", 10, 60) == [a_message(due=2.0, body=b"2")]

    def test_many_messages(self, store: Store) -> None:
        store.park([a_message(f"{n:05}", 1.0 + n, body=b"x" * 100) for n in range(5000)])
        assert store.parked_count("q", "amqp") == 5000
        taken = ids(store.due("q", "amqp", 5000, 60))
        assert taken == [f"{n:05}" for n in range(5000)]
        assert store.unpark("q", "amqp", taken) == 5000
        assert store.parked_count("q", "amqp") == 0

    # side by side
    def test_threads_and_stores_take_no_message_twice(
        self, store: Store, another: Callable[[], Store], threads: ThreadPoolExecutor
    ) -> None:
        store.park([a_message(f"{n:04}", 1.0 + n) for n in range(600)])

        def take(taker: Store) -> list[str]:
            mine: list[str] = []
            while taken := ids(taker.due("q", "amqp", 7, 60)):
                assert taker.unpark("q", "amqp", taken) == len(taken)
                mine += taken
            return mine

        takers = [store, store, another(), another()]
        shares = list(threads.map(take, takers))
        assert sorted(taken for share in shares for taken in share) == [
            f"{n:04}" for n in range(600)
        ]

    def test_processes_take_no_message_twice(self, store: Store, store_url: str) -> None:
        store.park([a_message(f"{n:04}", 1.0 + n) for n in range(600)])
        take = """
            while taken := store.due("q", "amqp", 7, 60):
                for message in taken:
                    print(message.parked_id)
        """
        processes = [elsewhere(store_url, take) for _ in range(4)]
        taken = [parked_id for process in processes for parked_id in output_of(process).split()]
        assert sorted(taken) == [f"{n:04}" for n in range(600)]

    def test_many_write_at_once(
        self, store: Store, another: Callable[[], Store], threads: ThreadPoolExecutor
    ) -> None:
        stores = [store, store, another(), another()]
        start = threading.Barrier(len(stores))

        def work(n: int) -> None:
            start.wait(10)
            for i in range(20):
                stores[n].save_results([a_result(f"{n}-{i}-{k}") for k in range(5)], 60)
                stores[n].beat([a_record(str(n))], 60)
                stores[n].pause(str(n))

        list(threads.map(work, range(len(stores))))
        assert len(store.results(limit=1000)) == 400
        assert len(store.consumers()) == 4
        assert len(store.pauses()) == 4

    # the store itself
    def test_opening_one_does_not_connect(self, unreachable_url: str) -> None:
        store = open_store(unreachable_url)
        assert store.url == unreachable_url
        store.close()

    def test_closing_twice_is_closing_once(self, store: Store) -> None:
        store.pause("q")
        store.close()
        store.close()

    @pytest.mark.parametrize("verb", EVERY_VERB)
    def test_an_unreachable_store_says_so(self, unreachable_url: str, verb: str) -> None:
        store = open_store(unreachable_url)
        try:
            with pytest.raises(Unavailable) as caught:
                EVERY_VERB[verb](store)
            assert len(str(caught.value)) > 20
            assert "secret" not in str(caught.value)
        finally:
            store.close()
