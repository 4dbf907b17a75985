"""How inboxes of one process hear of commits by others: each of its own, none of another's, and
always somebody listens."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fbcli.broker import Broker, Delivery, Inbox, Outgoing
from fbcli.broker_registry import open_broker
from fbcli.brokers.sqlite import commits
from fbcli.brokers.sqlite.file import open_file
from fbcli.platform import system
from tests.servers import wait_until

COUNT = 12


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with closing(open_broker(f"sqlite:///{tmp_path}/queue.db")) as broker:
        yield broker


@pytest.fixture
def stranger(broker: Broker) -> Iterator[Callable[..., None]]:
    """Publish as another process does: nobody here is told."""
    with closing(open_broker(broker.url)) as other:

        def publish(queue: str, message: Outgoing | None = None) -> None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("fbcli.brokers.sqlite.broker.file_in_use", lambda path: None)
                other.publish(queue, [message or Outgoing(b"{}")])

        yield publish


@pytest.fixture(params=["told", "polled"])
def telling(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system tells of writes, and where it does not."""
    if request.param == "polled":
        monkeypatch.setattr(type(system), "watch_file", lambda self, path: None)


class Waiters:
    """An inbox for each queue, each waiting in a thread of its own."""

    def __init__(self, broker: Broker, queues: Sequence[str], wait: float = 60.0) -> None:
        self.fetched: Counter[str] = Counter()
        self.returns: Counter[str] = Counter()
        self.over = False
        self._wait = wait
        self.inboxes: dict[str, Any] = {
            queue: broker.open(queue, consumer_id=queue, prefetch=1, lease=60.0) for queue in queues
        }
        self._threads = [
            threading.Thread(target=self._serve, args=item) for item in self.inboxes.items()
        ]
        for thread in self._threads:
            thread.start()

    def _serve(self, queue: str, inbox: Inbox) -> None:
        while not self.over:
            found: list[Delivery] = inbox.fetch(10, self._wait)
            self.returns[queue] += 1
            self.fetched[queue] += len(found)

    def close(self) -> None:
        self.over = True
        for inbox in self.inboxes.values():
            inbox.wake()
        for thread in self._threads:
            thread.join()
        for inbox in self.inboxes.values():
            inbox.close()


def all_wait(broker: Broker, count: int) -> None:
    file = open_file(broker.path)  # type: ignore[attr-defined]
    wait_until(lambda: len(file.commits._waiting) == count, "all to wait")
    wait_until(file.commits._listening.locked, "one to listen")


@pytest.mark.usefixtures("telling")
def test_each_hears_of_its_own_and_only_that(broker: Broker, stranger: Callable[..., None]) -> None:
    queues = [f"q{number}" for number in range(COUNT)]
    with closing(Waiters(broker, queues)) as waiters:
        all_wait(broker, COUNT)
        for queue in (*queues, *reversed(queues)):  # the one that listens among them
            stranger(queue)
            wait_until(lambda queue=queue: waiters.fetched[queue] > 0, queue)
            waiters.fetched.clear()
            all_wait(broker, COUNT)
        assert waiters.returns == Counter(dict.fromkeys(queues, 2))


def test_none_is_missed_when_all_come_at_once(
    broker: Broker, stranger: Callable[..., None]
) -> None:
    queues = [f"q{number}" for number in range(COUNT)]
    with closing(Waiters(broker, queues)) as waiters:
        for number in range(200):
            stranger(queues[number % COUNT])
        wait_until(lambda: sum(waiters.fetched.values()) == 200, "all messages")


def test_somebody_listens_whoever_stops(broker: Broker, stranger: Callable[..., None]) -> None:
    """Waits that end by themselves, over and over."""
    queues = [f"q{number}" for number in range(COUNT)]
    with closing(Waiters(broker, queues, wait=0.01)) as waiters:
        for number in range(50):
            queue = queues[number % COUNT]
            before = waiters.fetched[queue]
            stranger(queue)
            wait_until(lambda queue=queue, n=before: waiters.fetched[queue] > n, queue, timeout=20)


@pytest.mark.usefixtures("telling")
def test_what_becomes_due_is_heard_of(broker: Broker, stranger: Callable[..., None]) -> None:
    with closing(Waiters(broker, ["a", "b", "c"])) as waiters:
        all_wait(broker, 3)
        for queue in ("a", "b", "c"):
            stranger(queue, Outgoing(b"{}", not_before=time.time() + 0.3))
        wait_until(lambda: sum(waiters.fetched.values()) == 3, "them to be due", timeout=20)


def test_what_a_neighbour_gives_back_is_heard_of(broker: Broker) -> None:
    """They share a connection, whose own commits it does not tell of."""
    broker.publish("q", [Outgoing(b"{}")])
    first = broker.open("q", consumer_id="first", prefetch=1, lease=60.0)
    assert len(first.fetch(1, 0)) == 1
    with closing(Waiters(broker, ["q", "other"])) as waiters:
        all_wait(broker, 2)
        first.close()
        wait_until(lambda: waiters.fetched["q"] == 1, "what it held")


def test_one_watch_for_all(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    watch_file = type(system).watch_file
    monkeypatch.setattr(
        type(system), "watch_file", lambda self, path: opened.append(path) or watch_file(self, path)
    )
    broker.publish("other", [Outgoing(b"{}")])
    with closing(Waiters(broker, [f"q{number}" for number in range(COUNT)])):
        all_wait(broker, COUNT)
        assert len(opened) == 1


@pytest.mark.usefixtures("telling")
def test_a_new_file_in_its_place_is_heard_of(broker: Broker, stranger: Callable[..., None]) -> None:
    path: Path = broker.path  # type: ignore[attr-defined]
    stranger("other")
    with closing(Waiters(broker, ["a", "b"], wait=commits.QUIET)) as waiters:
        all_wait(broker, 2)
        for name in ("queue.db", "queue.db-wal", "queue.db-shm"):
            (path.parent / name).unlink(missing_ok=True)
        with closing(open_broker(broker.url)) as other:
            monkey = pytest.MonkeyPatch()
            monkey.setattr("fbcli.brokers.sqlite.broker.file_in_use", lambda path: None)
            other.publish("b", [Outgoing(b"{}")])
            monkey.undo()
        wait_until(lambda: waiters.fetched["b"] == 1, "the message in the new file")
