"""What every store must do about messages that wait in it for their time."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from fbcli.stores.base import Parked, Store
from fbcli.testing.store.ground import StoreGround
from fbcli.testing.store.samples import STRANGE, a_message, elsewhere, ids, output_of
from fbcli.testing.waiting import wait_until


def take(store: Store, count: int, queue: str = "q") -> list[Parked]:
    """Wait for `count` messages to be due, and return them."""
    taken: list[Parked] = []

    def enough() -> bool:
        taken.extend(store.due(queue, "amqp", 10, 60))
        return len(taken) >= count

    wait_until(enough, f"{count} messages to be due")
    return taken


class ParkingTests(StoreGround):
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

    def test_processes_take_no_message_twice(self, store: Store, shared_url: str) -> None:
        store.park([a_message(f"{n:04}", 1.0 + n) for n in range(600)])
        take = """
            while taken := store.due("q", "amqp", 7, 60):
                for message in taken:
                    print(message.parked_id)
        """
        processes = [elsewhere(shared_url, take) for _ in range(4)]
        taken = [parked_id for process in processes for parked_id in output_of(process).split()]
        assert sorted(taken) == [f"{n:04}" for n in range(600)]
