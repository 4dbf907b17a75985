"""What grows in an SQLite queue file, and what must not: the cost of each act with the messages
that wait, and the file with all that ever went through it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from fbcli.broker import Action, Delivery, Outgoing, Settlement, Size
from fbcli.brokers.sqlite.broker import SqliteBroker
from fbcli.brokers.sqlite.inbox import SqliteInbox
from fbcli.clients.sqlite import Database, connect
from fbcli.stores import open_store
from fbcli.testing.broker.ground import ack, numbered
from fbcli.testing.store.samples import a_result
from tests.servers import wait_until

QUEUE = "work.queue"
IN_A_CENTURY = 4e9


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@pytest.fixture
def broker(path: Path) -> Iterator[SqliteBroker]:
    with closing(SqliteBroker(f"sqlite:///{path}")) as broker:
        yield broker


def opened(broker: SqliteBroker, queue: str = QUEUE) -> SqliteInbox:
    return cast(SqliteInbox, broker.open(queue, consumer_id="c", prefetch=1, lease=60))


def steps(database: Database, act: Callable[[], object]) -> int:
    """Return how many instructions SQLite carries out for an act on a database."""
    count = 0

    def one() -> None:
        nonlocal count
        count += 1

    with database.reading() as connection:
        connection.set_progress_handler(one, 1)
    act()
    with database.reading() as connection:
        connection.set_progress_handler(None, 0)
    return count


def execute(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(connect(path, "")) as connection:
        return connection.execute(statement).fetchall()


@pytest.mark.parametrize("kind", ["ready", "urgent", "delayed"])
def test_no_act_costs_more_with_more_messages(broker: SqliteBroker, kind: str) -> None:
    def add(count: int) -> None:
        later = IN_A_CENTURY if kind == "delayed" else None
        broker.publish(
            QUEUE, [Outgoing(b"x", n % 10 if kind == "urgent" else 0, later) for n in range(count)]
        )

    def costs() -> dict[str, int]:
        found: list[Delivery] = []
        broker.publish(QUEUE, numbered(20))
        return {
            "size": steps(broker._database, lambda: broker.size(QUEUE)),
            "queues": steps(broker._database, broker.queues),
            "peek": steps(broker._database, lambda: broker.peek(QUEUE, 10)),
            "delayed": steps(broker._database, lambda: broker.delayed(QUEUE, 10)),
            "publish": steps(broker._database, lambda: broker.publish(QUEUE, numbered(1))),
            "keep_alive": steps(inbox._file.beats, inbox.keep_alive),
            "claim": steps(inbox._file.claims, lambda: found.extend(inbox.fetch(10, 0))),
            "settle": steps(inbox._file.claims, lambda: ack(inbox, found)),
        }

    with closing(opened(broker)) as inbox:
        inbox._file._space_at = math.inf  # given back once a second: now, or later, or in between
        add(100)
        few = costs()
        add(20_000)
        many = costs()
    assert {name: (few[name], many[name]) for name in few if many[name] > 1.2 * few[name]} == {}


def test_counts_hold_through_everything_that_changes_them(broker: SqliteBroker, path: Path) -> None:
    def right() -> None:
        counted = execute(path, "SELECT ready, waiting FROM fb_counts ORDER BY queue")
        there = execute(
            path,
            "SELECT (SELECT count(*) FROM fb_messages WHERE queue = q.queue AND owner IS NULL AND"
            " due IS NULL), (SELECT count(*) FROM fb_messages WHERE queue = q.queue AND due IS NOT"
            " NULL) FROM fb_counts q ORDER BY queue",
        )
        assert counted == there

    broker.publish(QUEUE, [*numbered(20), Outgoing(b"later", 0, IN_A_CENTURY)])
    inbox = opened(broker)
    found = inbox.fetch(10, 0)
    right()
    inbox.settle(
        [
            Settlement(found[0]),
            Settlement(found[1], Action.RELEASE),
            Settlement(found[2], Action.RELEASE, delay=1e6),
            Settlement(found[3], Action.BURY),
        ]
    )
    right()
    assert inbox.settle([Settlement(found[3], Action.BURY)]) == []  # once more
    right()
    execute(path, "UPDATE fb_owners SET beat = beat - 1000")
    opened(broker).close()
    right()
    execute(path, "UPDATE fb_messages SET due = 1 WHERE due IS NOT NULL")
    assert broker.size(QUEUE) == Size(19, 0, 0)
    ack(inbox, inbox.fetch(5, 0))
    right()
    inbox.close()
    right()
    broker.publish(QUEUE, [Outgoing(b"later", 0, IN_A_CENTURY)])
    assert broker.undelay(QUEUE, [each.handle for each in broker.delayed(QUEUE, 9)]) == 1
    right()
    assert broker.purge(QUEUE) == 14
    right()
    assert broker.size(QUEUE) == Size(0, 0, 0)


def test_a_file_that_nobody_has_counted_in_is_counted(broker: SqliteBroker, path: Path) -> None:
    """An older fbcli has made it."""
    broker.publish(QUEUE, [*numbered(7), Outgoing(b"later", 0, IN_A_CENTURY)])
    execute(path, "DROP TABLE fb_counts")
    with closing(SqliteBroker(f"sqlite:///{path}")) as newer:
        assert newer.size(QUEUE) == Size(7, 0, 1)
        newer.publish(QUEUE, numbered(1))
        assert newer.size(QUEUE) == Size(8, 0, 1)


def test_counts_that_an_older_fbcli_has_left_wrong_are_set_right(
    broker: SqliteBroker, path: Path
) -> None:
    broker.publish(QUEUE, numbered(3))
    with closing(opened(broker)) as inbox:
        execute(path, "UPDATE fb_counts SET ready = 99")
        ack(inbox, inbox.fetch(10, 0))
        assert broker.size(QUEUE) == Size(0, 0, 0)
        execute(path, "UPDATE fb_counts SET ready = 5, waiting = 6")
        assert inbox.fetch(10, 0) == []
        assert broker.size(QUEUE) == Size(0, 0, 0)


def test_names_of_queues_that_nobody_uses_are_forgotten(broker: SqliteBroker, path: Path) -> None:
    broker.publish("kept", numbered(1))
    with closing(opened(broker, "consumed")):
        for number in range(500):
            broker.publish(f"reply.{number}", numbered(1))
            broker.purge(f"reply.{number}")
        names = {name for (name,) in execute(path, "SELECT name FROM fb_queues")}
        assert {"kept", "consumed"} <= names
        assert len(names) < 50
        assert len(execute(path, "SELECT * FROM fb_counts")) <= len(names)
        assert broker.queues() == ["kept"]


def test_consumers_that_died_empty_handed_are_forgotten(broker: SqliteBroker, path: Path) -> None:
    """Also those of a queue that has no other consumer who would tidy up."""
    broker.publish("left", numbered(1))
    left, gone = opened(broker, "left"), opened(broker, "gone")
    assert len(left.fetch(1, 0)) == 1
    execute(path, "UPDATE fb_owners SET beat = beat - 1000")
    with closing(opened(broker, "elsewhere")):
        owners = [owner for (owner,) in execute(path, "SELECT id FROM fb_owners")]
        assert left._owner in owners  # its message waits for who consumes that queue next
        assert gone._owner not in owners
    left.close()
    gone.close()


def on_disk(path: Path) -> int:
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))


def test_a_file_is_small_again_after_a_purge(broker: SqliteBroker, path: Path) -> None:
    broker.publish(QUEUE, [Outgoing(b"x" * 1000)] * 4000)
    assert on_disk(path) > 4_000_000
    assert broker.purge(QUEUE) == 4000
    assert on_disk(path) < 200_000


def test_a_file_is_small_again_when_its_consumer_has_ended(
    broker: SqliteBroker, path: Path
) -> None:
    broker.publish(QUEUE, [Outgoing(b"x" * 1000)] * 4000)
    with closing(opened(broker)) as inbox:
        while found := inbox.fetch(500, 0):
            ack(inbox, found)
    assert on_disk(path) < 200_000


def test_a_backlog_leaves_nothing_and_pushes_go_on_meanwhile(
    broker: SqliteBroker, path: Path
) -> None:
    for _ in range(40):
        broker.publish(QUEUE, [Outgoing(b"x" * 100)] * 5000)
    assert on_disk(path) > 20_000_000
    done = threading.Event()
    pushed = 0

    def push() -> None:
        nonlocal pushed
        with closing(SqliteBroker(f"sqlite:///{path}")) as other:
            while not done.wait(0.005):
                other.publish("other.queue", numbered(1))
                pushed += 1

    pusher = threading.Thread(target=push)
    pusher.start()
    try:
        with closing(opened(broker)) as inbox:
            while found := inbox.fetch(500, 0):
                ack(inbox, found)
            before = pushed
            inbox.keep_alive()
            assert path.stat().st_size < 2_000_000
            wait_until(lambda: pushed > before, "a push while nothing else goes on")
    finally:
        done.set()
        pusher.join()
    assert broker.size("other.queue") == Size(pushed, 0, 0)


def test_a_store_is_small_again_when_its_results_have_expired(path: Path) -> None:
    with closing(open_store(f"sqlite:///{path}")) as store:
        store.save_results([a_result(str(n), value="x" * 1000) for n in range(4000)], ttl=-1)
        assert on_disk(path) > 4_000_000
        while store.sweep([]):
            pass
        wait_until(lambda: not store.sweep([]) and on_disk(path) < 1_000_000, "the file to be cut")
