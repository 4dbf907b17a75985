"""Publisher confirms: whoever published a batch learns exactly what got in, and never waits for
ever."""

from __future__ import annotations

import queue
import random
import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbcli.brokers.confirm_book import ConfirmBatch, ConfirmBook
from fbcli.errors import PartlyPublished, Unavailable

LONG = 20.0
"""Seconds that no wait of these tests may take."""


def known(batch: ConfirmBatch) -> tuple[list[int], list[int], list[int]]:
    return batch.accepted, batch.refused, batch.unknown


def test_all_of_a_batch_get_in() -> None:
    book = ConfirmBook()
    batch = book.begin(3)
    assert batch.first == 1
    assert not batch.wait(0)
    book.ack(2)
    book.ack(1)
    assert (book.outstanding, known(batch)) == (1, ([0, 1], [], [2]))
    book.ack(3)
    assert batch.wait(0)
    batch.check("RabbitMQ")
    assert (book.outstanding, known(batch)) == (0, ([0, 1, 2], [], []))


def test_one_confirm_for_many() -> None:
    book = ConfirmBook()
    first, second, third = book.begin(2), book.begin(2), book.begin(2)
    book.ack(3, multiple=True)
    assert first.wait(0)
    assert known(second) == ([0], [], [1])
    book.nack(4, multiple=True)
    assert known(second) == ([0], [1], [])
    book.ack(0, multiple=True)
    assert third.wait(0)
    third.check("RabbitMQ")


def test_a_batch_of_nothing_is_known_at_once() -> None:
    book = ConfirmBook()
    batch = book.begin(0)
    assert batch.wait(0)
    batch.check("RabbitMQ")
    assert book.begin(1).first == 1


def test_what_was_refused_is_told_beside_what_got_in() -> None:
    book = ConfirmBook()
    batch = book.begin(4)
    book.ack(1)
    book.nack(2)
    book.ack(4, multiple=True)
    assert batch.wait(0)
    with pytest.raises(PartlyPublished, match="1 of 4 messages were refused by RabbitMQ") as caught:
        batch.check("RabbitMQ")
    assert caught.value.accepted == [0, 2, 3]


def test_nothing_got_in() -> None:
    book = ConfirmBook()
    batch = book.begin(2)
    book.nack(2, multiple=True)
    with pytest.raises(Unavailable, match=r"could not take them over") as caught:
        batch.check("RabbitMQ")
    assert not isinstance(caught.value, PartlyPublished)


def test_what_is_for_no_queue_was_not_taken_over_though_it_is_confirmed() -> None:
    book = ConfirmBook()
    batch = book.begin(2)
    book.returned(1, "NO_ROUTE")
    assert not batch.wait(0), "its confirm follows"
    book.ack(2, multiple=True)
    assert batch.wait(0)
    assert known(batch) == ([1], [0], [])
    with pytest.raises(PartlyPublished, match="NO_ROUTE"):
        batch.check("RabbitMQ")


def test_a_lost_connection_leaves_the_rest_unknown_and_ends_all_waits() -> None:
    book = ConfirmBook()
    first, second = book.begin(3), book.begin(1)
    book.ack(1)
    book.returned(2, "NO_ROUTE")
    waits: list[bool] = []
    waiter = threading.Thread(target=lambda: waits.append(second.wait(LONG)))
    waiter.start()
    book.end("The connection to RabbitMQ was lost.")
    waiter.join(LONG)
    assert waits == [True]
    assert known(first) == ([0], [1], [2])
    assert known(second) == ([], [], [0])
    with pytest.raises(
        Unavailable, match=r"did not confirm 1 of 1 .*connection to RabbitMQ was lost"
    ):
        second.check("RabbitMQ")
    with pytest.raises(PartlyPublished):
        first.check("RabbitMQ")
    with pytest.raises(Unavailable, match="connection to RabbitMQ was lost"):
        book.begin(1)
    book.end("Another reason.")
    book.ack(3)
    assert known(first) == ([0], [1], [2]), "what comes afterwards means nothing"
    assert book.outstanding == 0


def test_a_deadline_leaves_what_is_late_unknown() -> None:
    book = ConfirmBook()
    batch = book.begin(2)
    book.ack(1)
    assert not batch.wait(0.01)
    with pytest.raises(PartlyPublished, match="did not answer in time") as caught:
        batch.check("RabbitMQ")
    assert caught.value.accepted == [0]


def test_a_server_that_repeats_itself_or_invents_numbers_does_no_harm() -> None:
    book = ConfirmBook()
    batch = book.begin(1)
    for number in (0, 2, 99, -1):
        book.ack(number)
        book.returned(number, "NO_ROUTE")
    assert book.outstanding == 1
    book.ack(1)
    book.nack(1)
    book.returned(1, "NO_ROUTE")
    assert known(batch) == ([0], [], [])
    book.ack(1000, multiple=True)
    later = book.begin(1)
    assert later.first == 2
    assert not later.wait(0)


# against a model that keeps one entry for each message


@dataclass
class Model:
    """What each message of each batch has come to."""

    fates: list[str] = field(default_factory=list)
    batches: list[tuple[int, int]] = field(default_factory=list)
    ended: bool = False

    def settle(self, numbers: range, fate: str) -> None:
        for number in numbers:
            if 1 <= number <= len(self.fates) and not self.ended:
                was = self.fates[number - 1]
                if was == "pending":
                    self.fates[number - 1] = fate
                elif was == "returned":
                    self.fates[number - 1] = "refused"


def expected(model: Model, first: int, count: int) -> tuple[list[int], list[int], list[int]]:
    fates = model.fates[first : first + count]
    return (
        [place for place, fate in enumerate(fates) if fate == "accepted"],
        [place for place, fate in enumerate(fates) if fate in ("refused", "returned")],
        [place for place, fate in enumerate(fates) if fate == "pending"],
    )


numbers = st.integers(0, 30)
steps = st.one_of(
    st.tuples(st.just("begin"), st.integers(0, 5)),
    st.tuples(st.sampled_from(["ack", "nack", "ack all to", "nack all to", "return"]), numbers),
    st.tuples(st.just("end"), st.just(0)),
)


@settings(deadline=None)
@given(st.lists(steps, max_size=40))
def test_it_does_what_a_list_of_all_messages_does(script: list[tuple[str, int]]) -> None:
    book, model = ConfirmBook(), Model()
    batches: list[ConfirmBatch] = []
    for what, number in script:
        if what == "begin":
            if model.ended:
                with pytest.raises(Unavailable):
                    book.begin(number)
                continue
            batches.append(book.begin(number))
            model.batches.append((len(model.fates), number))
            model.fates += ["pending"] * number
        elif what == "end":
            book.end("The connection was lost.")
            model.ended = True
        elif what == "return":
            book.returned(number, "NO_ROUTE")
            known_to_both = 1 <= number <= len(model.fates) and not model.ended
            if known_to_both and model.fates[number - 1] == "pending":
                model.fates[number - 1] = "returned"
        elif what in ("ack", "nack"):
            getattr(book, what)(number)
            model.settle(range(number, number + 1), "accepted" if what == "ack" else "refused")
        else:
            getattr(book, what.split()[0])(number, multiple=True)
            last = number or len(model.fates)
            model.settle(range(1, last + 1), "accepted" if what[0] == "a" else "refused")
        for batch, (first, count) in zip(batches, model.batches, strict=True):
            assert known(batch) == expected(model, first, count)
            fates = model.fates[first : first + count]
            waits = not model.ended and any(fate in ("pending", "returned") for fate in fates)
            assert batch.wait(0) is not waits
        unsettled = sum(fate in ("pending", "returned") for fate in model.fates)
        assert book.outstanding == (0 if model.ended else unsettled)


def test_many_publishers_and_a_server_that_answers_in_any_order() -> None:
    book = ConfirmBook()
    chance = random.Random(8)
    sent: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    sending = threading.Lock()
    refused: set[int] = set()
    wrong: list[object] = []

    def publish() -> None:
        for size in (1, 7, 100) * 20:
            with sending:
                batch = book.begin(size)
                for number in range(batch.first, batch.first + size):
                    sent.put(number)
            if not batch.wait(LONG):
                wrong.append("waited too long")
            numbers = range(batch.first, batch.first + size)
            if batch.refused != [n - batch.first for n in numbers if n in refused]:
                wrong.append((batch.first, batch.refused))

    def serve() -> None:
        held: list[int] = []
        while (number := sent.get()) is not None:
            held.append(number)
            if not sent.empty() and len(held) < chance.randint(1, 50):
                continue
            if chance.random() < 0.5:
                book.ack(max(held), multiple=True)
            else:
                chance.shuffle(held)
                for each in held:
                    if chance.random() < 0.1:
                        refused.add(each)
                        book.nack(each)
                    else:
                        book.ack(each)
            held.clear()

    threads = [threading.Thread(target=publish) for _ in range(4)]
    server = threading.Thread(target=serve)
    for thread in (*threads, server):
        thread.start()
    for thread in threads:
        thread.join(4 * LONG)
    sent.put(None)
    server.join(LONG)
    assert not wrong
    assert book.outstanding == 0
