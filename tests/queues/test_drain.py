"""Waiting until queues are drained, in time that the test makes itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fbcli.broker import Broker, Inbox, Size
from fbcli.errors import Unsupported
from fbcli.queues.drain import FIRST_POLL, LAST_POLL, Backlog, Drain
from fbcli.queues.queue import Queue
from fbcli.stores.base import ConsumerRecord
from tests.messages import message, queue_in


class Time:
    """A clock that stands still but for sleeping; after each sleep the next event happens."""

    def __init__(self, *events: Callable[[], object]) -> None:
        self.time = 100.0
        self.slept: list[float] = []
        self._events = list(events)

    def now(self) -> float:
        return self.time

    monotonic = now

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.slept.append(seconds)
        if self._events:
            self._events.pop(0)()


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    with queue_in(tmp_path) as found:
        yield found


def wait(
    queue: Queue, time: Time, timeout: float | None = None, *, delayed: bool = False
) -> tuple[bool, list[Backlog]]:
    readings: list[Backlog] = []
    drained, last = Drain([queue], time, delayed=delayed, sleep=time.sleep).wait(
        timeout, readings.append
    )
    assert last is readings[-1]
    return drained, readings


def test_an_empty_queue_is_drained_at_the_second_look(queue: Queue) -> None:
    time = Time()
    drained, readings = wait(queue, time)
    assert (drained, len(readings), time.slept) == (True, 2, [FIRST_POLL])


def test_it_waits_for_what_is_in_flight(queue: Queue) -> None:
    queue.publish([message("a", x=1)])
    inbox = queue.broker.open(queue.name, consumer_id="c", prefetch=1, lease=60)

    def work(inbox: Inbox = inbox) -> None:
        assert inbox.fetch(1, 0.0)

    drained, readings = wait(queue, Time(work, lambda: None, inbox.close, lambda: queue.clear()))
    assert drained
    assert [(each.ready, each.in_flight, each.left) for each in readings[:3]] == [
        (1, 0, 1),
        (0, 1, 1),
        (0, 1, 1),
    ]


def test_what_hides_between_two_looks_is_found(queue: Queue) -> None:
    time = Time(lambda: queue.publish([message("a", x=1)]), queue.clear, lambda: None)
    drained, readings = wait(queue, time)
    assert drained
    assert [each.left for each in readings] == [0, 1, 0, 0]


def test_it_looks_ever_less_often(queue: Queue) -> None:
    queue.publish([message("a", x=1)])
    time = Time()
    drained, _ = wait(queue, time, 20)
    assert not drained
    assert time.time == pytest.approx(120)
    assert time.slept[0] < 2 * FIRST_POLL
    assert sorted(time.slept[:-1]) == time.slept[:-1]
    assert max(time.slept) == LAST_POLL


def test_a_timeout_of_nothing_looks_once(queue: Queue) -> None:
    queue.publish([message("a", x=1)])
    drained, readings = wait(queue, Time(), 0)
    assert (drained, len(readings)) == (False, 1)


def test_delayed_messages_are_waited_for_when_asked(queue: Queue) -> None:
    queue.publish([message("a", delay=60, x=1)])
    assert wait(queue, Time())[0]
    assert wait(queue, Time(), 1, delayed=True)[0] is False
    assert wait(queue, Time(queue.cancel_delayed), delayed=True)[0]


def test_the_rate_tells_how_long_it_takes(queue: Queue) -> None:
    queue.publish([message(f"m{number}", x=number) for number in range(10)])

    def one_done() -> None:
        queue.take(lambda body: True, lambda chosen: None, limit=1)

    _, readings = wait(queue, Time(*[one_done] * 10))
    known = [each for each in readings if each.rate is not None]
    assert known[0].rate is not None
    assert known[0].rate > 0
    assert known[0].seconds_left == pytest.approx(known[0].left / known[0].rate)
    assert Backlog(rate=-1.0, left=5).seconds_left is None


def test_several_queues_are_waited_for_together(tmp_path: Path) -> None:
    with queue_in(tmp_path, "one") as one, queue_in(tmp_path, "two") as two:
        two.publish([message("a", x=1)])
        time = Time()
        assert Drain([one, two], time, sleep=time.sleep).wait(1, lambda reading: None)[0] is False


class _Blind(Queue):
    """A queue whose broker knows not what is in flight."""

    def size(self) -> Size | None:
        size = super().size()
        return None if size is None else Size(size.ready, None, size.delayed)


def test_where_the_broker_is_blind_the_consumers_are_asked(queue: Queue) -> None:
    blind = _Blind(queue.name, queue.broker, queue.open_store)
    store = queue.open_store()

    def say(in_flight: int) -> Callable[[], None]:
        return lambda: store.beat(
            [ConsumerRecord("w", queue=queue.name, in_flight=in_flight)], ttl=60
        )

    say(2)()
    drained, readings = wait(blind, Time(say(0), say(0), lambda: None))
    assert drained
    assert [each.in_flight for each in readings][:2] == [
        2,
        1,
    ]  # the first 0 may be a word from before
    assert wait(blind, Time(), 1)[0] is False  # nobody has spoken since
    store.retire(["w"])
    assert wait(blind, Time())[0]


def test_a_broker_that_cannot_count_is_refused(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def size(self: Broker, name: str) -> None:
        return None

    monkeypatch.setattr(type(queue.broker), "size", size)
    with pytest.raises(Unsupported, match="cannot count messages"):
        wait(queue, Time())
