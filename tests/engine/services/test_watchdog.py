"""The watchdog, by a clock of its own: whom it bites, and whom it leaves in peace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from fbcli.arguments.signature import Signature
from fbcli.broker import Delivery, Inbox, Outgoing, Settlement, Size
from fbcli.brokers.memory import MemoryBroker, MemoryInbox
from fbcli.engine.consumer import Consumer
from fbcli.engine.fetcher import MAX_WAIT
from fbcli.engine.lifecycle import run
from fbcli.engine.pools import Pools
from fbcli.engine.services.watchdog import Watchdog
from fbcli.engine.work import Work
from fbcli.errors import ExitCode, Unavailable
from fbcli.options.model import Options
from fbcli.pools.base import Done, Pool
from fbcli.stores import open_store
from tests.servers import wait_until

LIMIT = 10.0


@dataclass
class Clock:
    at: float = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


@dataclass
class Mouth:
    """What a watchdog sees of an intake."""

    hungry_since: float | None = None
    fetching_since: float | None = None
    stopping: bool = False


@dataclass
class Scene:
    """A watchdog, what it watches, and what it has said."""

    clock: Clock = field(default_factory=Clock)
    mouth: Mouth = field(default_factory=Mouth)
    waiting: int | None = 0
    """How many messages the broker says are waiting."""
    answers_after: float = 0.0
    """Seconds that the broker takes to say so."""
    away: bool = False
    bites: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        asked: Any = self.mouth
        self.dog = Watchdog(asked, asked, self.ready, self.bites.append, LIMIT, self.clock)

    def ready(self) -> int | None:
        self.clock.at += self.answers_after
        if self.away:
            raise Unavailable("it is away")
        return self.waiting

    def pass_by(self, seconds: float) -> None:
        """Let time pass, as the service's thread does."""
        end = self.clock.at + seconds
        while self.clock.at < end:
            self.clock.at += self.dog.period
            try:
                self.dog.beat()
            except Unavailable:
                continue


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_one_that_gets_nothing_though_there_is_something_is_deaf(scene: Scene) -> None:
    scene.mouth.hungry_since, scene.waiting = scene.clock.at, 12_345
    scene.pass_by(LIMIT * 0.9)
    assert not scene.bites
    scene.pass_by(LIMIT * 0.5)
    assert scene.bites
    assert "deaf" in scene.bites[0]
    assert "12,345 messages" in scene.bites[0]


def test_one_whose_fetch_does_not_return_is_deaf(scene: Scene) -> None:
    scene.mouth.fetching_since, scene.waiting = scene.clock.at, 1
    scene.pass_by(2 * LIMIT)
    assert not scene.bites
    scene.pass_by(MAX_WAIT + 3 * scene.dog.period)
    assert "deaf" in scene.bites[0]


def test_one_that_waits_at_an_empty_queue_is_idle(scene: Scene) -> None:
    scene.mouth.hungry_since = scene.mouth.fetching_since = scene.clock.at
    scene.pass_by(100 * LIMIT)
    scene.waiting = 5
    scene.pass_by(LIMIT * 0.9)
    assert not scene.bites, (
        "it has the same time as any other to take what has come after a long silence"
    )


def test_one_that_does_not_ask_is_left_in_peace(scene: Scene) -> None:
    scene.waiting = 5
    scene.pass_by(100 * LIMIT)
    assert not scene.bites


def test_one_that_gets_something_now_and_then_hears(scene: Scene) -> None:
    scene.waiting = 5
    for _ in range(20):
        scene.mouth.hungry_since = scene.clock.at
        scene.pass_by(LIMIT * 0.9)
    assert not scene.bites


def test_the_queue_may_run_empty_in_between(scene: Scene) -> None:
    scene.mouth.hungry_since = scene.clock.at
    for _ in range(20):
        scene.waiting = 5
        scene.pass_by(LIMIT * 0.7)
        scene.waiting = 0
        scene.pass_by(LIMIT * 0.5)
    assert not scene.bites, "others take what there is"


def test_one_that_stops_is_left_in_peace(scene: Scene) -> None:
    scene.mouth.hungry_since, scene.waiting, scene.mouth.stopping = scene.clock.at, 5, True
    scene.pass_by(100 * LIMIT)
    assert not scene.bites


def test_a_broker_that_cannot_count_makes_nobody_deaf(scene: Scene) -> None:
    scene.mouth.hungry_since, scene.waiting = scene.clock.at, None
    scene.pass_by(100 * LIMIT)
    assert not scene.bites


def test_a_broker_that_is_away_makes_nobody_deaf(scene: Scene) -> None:
    scene.mouth.hungry_since, scene.waiting = scene.clock.at, 5
    scene.pass_by(LIMIT * 0.9)
    scene.away = True
    scene.pass_by(5 * LIMIT)
    scene.away = False
    scene.pass_by(LIMIT * 0.9)
    assert not scene.bites, "when it is back, the consumer has its time again"
    scene.pass_by(LIMIT)
    assert scene.bites


def test_nor_does_one_that_is_slow_to_answer(scene: Scene) -> None:
    """The consumer's own request is as slow: it may get its messages in the next moment."""
    scene.mouth.hungry_since = scene.mouth.fetching_since = scene.clock.at
    scene.waiting, scene.answers_after = 5, LIMIT / 2
    scene.pass_by(20 * LIMIT)
    assert not scene.bites


def test_one_that_gets_something_while_the_broker_is_asked_hears(scene: Scene) -> None:
    scene.mouth.hungry_since, scene.waiting = scene.clock.at, 5
    scene.pass_by(LIMIT * 0.9)
    ready = scene.ready

    def meanwhile() -> int | None:
        scene.mouth.hungry_since = None
        return ready()

    scene.dog._ready = meanwhile
    scene.pass_by(LIMIT)
    assert not scene.bites


class DeafInbox(MemoryInbox):
    """Hears nothing any more once it has fetched something."""

    hangs = False
    deaf = False

    def fetch(self, limit: int, wait: float) -> list[Delivery]:
        if self.deaf and self.hangs:
            threading.Event().wait()
        found = super().fetch(0 if self.deaf else limit, wait)
        self.deaf = self.deaf or bool(found)
        return found


class HangingInbox(DeafInbox):
    """Its fetch does not return any more."""

    hangs = True


class DeafBroker(MemoryBroker):
    inbox: type[MemoryInbox] = DeafInbox

    def open(self, queue: str, *, consumer_id: str, prefetch: int, lease: float) -> Inbox:
        with self.lock:
            inbox = self.inbox(self, queue, lease)
            self.lines[queue].inboxes.append(inbox)
            return inbox


def work_on(broker: MemoryBroker, folder: Path, **options: Any) -> tuple[Work, list[int]]:
    """Return what a consumer needs of a function that writes down its argument, and where it does
    so."""
    seen: list[int] = []

    def note(x: int) -> None:
        seen.append(x)

    store = open_store(f"sqlite:///{folder}/store.db")
    given = Options.make({"heartbeat": 0.5, **options}, source=lambda name: "here")
    return Work("here:note", folder, note, Signature.of(note), "", "q", given, broker, store), seen


@pytest.mark.parametrize("inbox", [DeafInbox, HangingInbox])
def test_a_deaf_consumer_ends_in_failure(
    tmp_path: Path, inbox: type[MemoryInbox], caplog: pytest.LogCaptureFixture
) -> None:
    broker = DeafBroker("memory://")
    broker.inbox = inbox
    work, seen = work_on(broker, tmp_path, watchdog=0.2)
    with closing(work.store):
        consumer = Consumer(work).start()
        broker.publish("q", [Outgoing(b'{"x": 1}')])
        wait_until(lambda: seen == [1], "the first message")
        broker.publish("q", [Outgoing(b'{"x": 2}'), Outgoing(b'{"x": 3}')])
        wait_until(lambda: consumer.join(0), "it to give in")
        assert isinstance(consumer.failure, Unavailable)
        assert consumer.failure.exit_code == ExitCode.UNREACHABLE
        assert "2 messages are waiting: it is deaf" in str(consumer.failure)
        assert [record.message for record in caplog.records if record.levelname == "CRITICAL"] == [
            f"{consumer.failure} Ending, so that another may take its place."
        ]
        assert seen == [1]
        if inbox is DeafInbox:
            assert consumer.state == "stopped", "it has ended in order"
            assert broker.size("q") == Size(2, 0, 0)
        else:
            assert broker.size("q") == Size(2, 1, 0), (
                "what it could not settle any more comes back with its lease"
            )


class InstantPool(Pool):
    """Has done what is submitted before `submit` returns."""

    def submit(self, tasks: Sequence[Any]) -> None:
        for task in tasks:
            run(task)
            self._done(task, True)

    def nudge(self, brisk: bool) -> float | None:
        return None

    def pending(self) -> int:
        return 0

    def running(self) -> list[Any]:
        return []

    def take_back(self) -> list[Any]:
        return []

    def interrupt(self, task: Any, exception: type[BaseException]) -> bool:
        return False

    def abandon(self, task: Any) -> Any | None:
        return None

    def resize(self, size: int) -> None:
        self.size = size

    def close(self) -> None:
        """Nothing is open."""


class InstantPools(Pools):
    def make(self, work: Work, size: int, done: Done, *others: Any) -> Pool:
        return InstantPool(size, done)


class BusyInbox(MemoryInbox):
    """A second passes with each fetch, and there is always something more."""

    def fetch(self, limit: int, wait: float) -> list[Delivery]:
        broker = cast(BusyBroker, self._broker)
        broker.clock.at += 1.0
        broker.publish(self._queue, [Outgoing(b'{"x": 1}')] * 2)
        return super().fetch(min(1, limit), 0)

    def settle(
        self, settlements: Sequence[Settlement], also: object = None
    ) -> Sequence[Settlement]:
        cast(BusyBroker, self._broker).on_settle()
        return super().settle(settlements, also)


class BusyBroker(DeafBroker):
    inbox = BusyInbox
    on_settle: Callable[[], None]

    def __init__(self, clock: Clock) -> None:
        super().__init__("memory://")
        self.clock = clock


def test_a_busy_consumer_is_not_deaf_however_short_its_tasks(tmp_path: Path) -> None:
    """Their outcomes are there before the next fetch: so it never seems to hold anything, but has
    got something."""
    clock = Clock()
    broker = BusyBroker(clock)
    work, seen = work_on(broker, tmp_path, watchdog=10)
    silences: list[float] = []

    def look() -> None:
        assert consumer._parts is not None
        since = consumer._parts.intake.fetcher.hungry_since
        silences.append(0.0 if since is None else clock.at - since)

    broker.on_settle = look
    with closing(work.store):
        consumer = Consumer(work, pools=InstantPools(), clock=clock, max_tasks=500)
        consumer.serve()
    assert consumer.failure is None
    assert len(seen) == 500
    assert max(silences) <= 1.0
