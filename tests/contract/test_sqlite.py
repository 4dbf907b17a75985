"""The SQLite broker beyond the contract: processes, their sudden end, full disks, and files that
are not what they should be."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, settings

from fbcli.broker import Action, Broker, Delivery, Inbox, Outgoing, Settlement, Size
from fbcli.broker_registry import open_broker
from fbcli.brokers.sqlite.inbox import SqliteInbox
from fbcli.clients.sqlite import connect
from fbcli.errors import Unavailable
from fbcli.stores import open_store
from fbcli.stores.base import Store
from fbcli.testing import BrokerContract
from fbcli.testing.broker.ground import ack, bodies, numbered
from tests.contract.broker_model import LONG, BrokerModel
from tests.servers import RequirementMissing, wait_until

QUEUE = "work.queue"

PROLOGUE = """
import os, sys, time
from fbcli.broker import Outgoing, Settlement
from fbcli.broker_registry import open_broker
from fbcli.errors import Unavailable
broker = open_broker(sys.argv[1])
"""


class TestSqlite(BrokerContract):
    spares_held = True

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/queue.db"


class SqliteModel(BrokerModel):
    keeps_place = True

    def open_broker(self) -> Broker:
        self.folder = tempfile.TemporaryDirectory(prefix="fb-model-")
        self.path = Path(self.folder.name) / "queue.db"
        return open_broker(f"sqlite:///{self.path}")

    def open_store(self) -> Store:
        return open_store(f"sqlite:///{self.path}")

    def expire(self, inbox: Inbox) -> None:
        owner = cast(SqliteInbox, inbox)._owner
        with closing(connect(self.path, "")) as connection:
            connection.execute(
                "UPDATE fb_owners SET beat = beat - ? WHERE id = ?", (2 * LONG, owner)
            )

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


TestSqliteModel = SqliteModel.TestCase
TestSqliteModel.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@pytest.fixture
def broker(path: Path) -> Iterator[Broker]:
    with closing(open_broker(f"sqlite:///{path}")) as broker:
        yield broker


@pytest.fixture
def opened(broker: Broker) -> Iterator[Callable[..., Inbox]]:
    with ExitStack() as inboxes:

        def opened(lease: float = 60.0) -> Inbox:
            return inboxes.enter_context(
                closing(broker.open(QUEUE, consumer_id="c", prefetch=1, lease=lease))
            )

        yield opened


@pytest.fixture
def inbox(opened: Callable[..., Inbox]) -> Inbox:
    return opened()


@pytest.fixture
def elsewhere(path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Runs code in a process of its own, with `broker` opened on the same file."""
    processes: list[subprocess.Popen[str]] = []

    def start(code: str, url: str = f"sqlite:///{path}") -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-c", PROLOGUE + textwrap.dedent(code), url]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def output_of(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert errors == ""
    return output


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(connect(path, "")) as connection:
        return connection.execute(query).fetchall()


class TestProcesses:
    def test_none_lost_and_none_twice(
        self, broker: Broker, elsewhere: Callable[[str], subprocess.Popen[str]]
    ) -> None:
        """Four processes publish and consume; now and then one releases what it has."""
        count = 4 * 2000
        consume = """
            import random
            inbox = broker.open("work.queue", consumer_id=str(os.getpid()), prefetch=1, lease=30)
            for start in range(0, 2000, 100):
                numbers = range(start, start + 100)
                some = [Outgoing(b"%d %d" % (os.getpid(), i)) for i in numbers]
                broker.publish("work.queue", some)
            quiet_since, turn = time.monotonic(), 0
            while time.monotonic() - quiet_since < 2:
                batch = inbox.fetch(random.choice((1, 10, 50)), 0.2)
                if not batch:
                    continue
                quiet_since, turn = time.monotonic(), turn + 1
                release = turn % 20 == 0
                late = inbox.settle([
                    Settlement(delivery, 1 if release else 0) for delivery in batch
                ])
                assert not late
                assert all(delivery.deliveries == 1 for delivery in batch)
                if not release:
                    for delivery in batch:
                        print(delivery.body.decode())
                inbox.keep_alive()
            inbox.close()
            broker.close()
        """
        found = Counter(
            line
            for process in [elsewhere(consume) for _ in range(4)]
            for line in output_of(process).splitlines()
        )
        assert len(found) == count
        assert set(found.values()) == {1}
        assert broker.size(QUEUE) == Size(0, 0, 0)

    def test_what_a_killed_process_held_comes_back(
        self, broker: Broker, inbox: Inbox, elsewhere: Callable[[str], subprocess.Popen[str]]
    ) -> None:
        broker.publish(QUEUE, numbered(10))
        process = elsewhere("""
            inbox = broker.open("work.queue", consumer_id="doomed", prefetch=1, lease=1)
            print(len(inbox.fetch(7, 5)), flush=True)
            while True:
                inbox.keep_alive()
                time.sleep(0.1)
        """)
        assert process.stdout is not None
        assert process.stdout.readline() == "7\n"
        ack(inbox, inbox.fetch(10, 5))
        assert inbox.keep_alive() == 0
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until(lambda: inbox.keep_alive() == 7, "what it held")
        found = inbox.fetch(10, 5)
        assert [(delivery.body, delivery.deliveries) for delivery in found] == [
            (b"%d" % i, 2) for i in range(7)
        ]
        ack(inbox, found)

    def test_killed_in_the_middle_of_anything(
        self, broker: Broker, elsewhere: Callable[[str], subprocess.Popen[str]]
    ) -> None:
        """Whatever was confirmed is there, once, after each of many sudden ends."""
        work = """
            inbox = broker.open("work.queue", consumer_id="doomed", prefetch=1, lease=0.5)
            i = 0
            while True:
                name = b"%d %d" % (os.getpid(), i)
                broker.publish("work.queue", [Outgoing(name)])
                print("published", name.decode(), flush=True)
                for delivery in inbox.fetch(1, 1):
                    print("settling", delivery.body.decode(), flush=True)
                    inbox.settle([Settlement(delivery)])
                    print("done", delivery.body.decode(), flush=True)
                inbox.keep_alive()
                i += 1
        """
        published, done, untold = set(), Counter[str](), set()
        for turn in range(6):
            process = elsewhere(work)
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(20 + turn)]
            process.kill()
            lines += process.stdout.readlines()
            told = [line.strip().partition(" ") for line in lines if line.endswith("\n")]
            published.update(name for verb, _, name in told if verb == "published")
            done.update(name for verb, _, name in told if verb == "done")
            untold.update(name for verb, _, name in told[-1:] if verb == "settling")
        with closing(broker.open(QUEUE, consumer_id="heir", prefetch=1, lease=60)) as inbox:
            wait_until(
                lambda: (inbox.keep_alive(), broker.size(QUEUE))[1].in_flight == 0,
                "the dead to be noticed",
            )  # type: ignore[union-attr]
            rest = inbox.fetch(1000, 1)
            done.update(delivery.body.decode() for delivery in rest)
            ack(inbox, rest)
        assert published <= set(done) | untold, (
            "one that was being settled at the end may be gone, and nobody told"
        )
        assert max(done.values()) == 1

    def test_a_fork_shares_no_connection(self, broker: Broker, inbox: Inbox) -> None:
        broker.publish(QUEUE, numbered(3))
        ack(inbox, inbox.fetch(1, 5))
        child = os.fork()
        if child == 0:
            try:
                broker.publish(QUEUE, [Outgoing(b"child")])
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert bodies(inbox.fetch(10, 5)) == [b"1", b"2", b"child"]

    def test_all_open_a_new_file_at_once(
        self, elsewhere: Callable[[str], subprocess.Popen[str]]
    ) -> None:
        code = """
            sys.stdin.readline()
            inbox = broker.open("work.queue", consumer_id="c", prefetch=1, lease=5)
            broker.publish("work.queue", [Outgoing(b"x")])
            (delivery,) = inbox.fetch(1, 5)
            assert not inbox.settle([Settlement(delivery)])
            inbox.close()
            broker.close()
        """
        processes = [elsewhere(code) for _ in range(4)]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            output_of(process)


class TestLeases:
    def test_a_beat_that_waited_for_the_lock_takes_no_lease(
        self, broker: Broker, opened: Callable[..., Inbox], path: Path
    ) -> None:
        """Whoever is kept out for long must not take the beats that others have written meanwhile
        for ones from the future."""
        slow, lively = opened(), opened()
        broker.publish(QUEUE, numbered(2))
        held = lively.fetch(2, 5)
        given_back: list[int] = []
        with closing(connect(path, "")) as other:
            other.execute("BEGIN IMMEDIATE")
            thread = threading.Thread(target=lambda: given_back.append(slow.keep_alive()))
            thread.start()
            time.sleep(1.3)
            other.execute(
                "UPDATE fb_owners SET beat = ?", (time.monotonic(),)
            )  # as the lively one's own heartbeat would
            other.execute("COMMIT")
        thread.join()
        assert given_back == [0]
        ack(lively, held)

    def test_a_restart_of_the_host_ends_all_leases(
        self, broker: Broker, opened: Callable[..., Inbox], path: Path
    ) -> None:
        """The clock of beats begins anew then, so that those from before lie in the future."""
        before = opened(lease=1e9)
        broker.publish(QUEUE, numbered(3))
        lost = before.fetch(3, 5)
        with closing(connect(path, "")) as other:
            other.execute("UPDATE fb_owners SET beat = beat + 1e6")
        after = opened()
        found = after.fetch(10, 5)
        assert [(delivery.body, delivery.deliveries) for delivery in found] == [
            (b"0", 2),
            (b"1", 2),
            (b"2", 2),
        ]
        late = [Settlement(delivery) for delivery in lost]
        assert before.settle(late) == late
        ack(after, found)

    def test_nobody_stays_registered(
        self, broker: Broker, opened: Callable[..., Inbox], path: Path
    ) -> None:
        inboxes = [opened() for _ in range(3)]
        for inbox in inboxes:
            inbox.keep_alive()
            inbox.close()
            inbox.keep_alive()
        assert rows(path, "SELECT * FROM fb_owners") == []

    def test_two_threads_that_lost_the_lease_agree_on_the_next(
        self, broker: Broker, opened: Callable[..., Inbox], path: Path
    ) -> None:
        inbox, ended = opened(), threading.Event()

        def beat() -> None:
            while not ended.is_set():
                inbox.keep_alive()

        thread = threading.Thread(target=beat)
        thread.start()
        found: list[Delivery] = []
        broker.publish(QUEUE, numbered(200))
        with closing(connect(path, "")) as other:
            deadline = time.monotonic() + 30
            while len(found) < 200 and time.monotonic() < deadline:
                batch = inbox.fetch(5, 1)
                with suppress(sqlite3.OperationalError):
                    other.execute(
                        "UPDATE fb_owners SET beat = -1e9, lease = 0 WHERE abs(random()) % 4 = 0"
                    )
                lost = inbox.settle([Settlement(delivery) for delivery in batch])
                gone = {id(settlement.delivery) for settlement in lost}
                found += [delivery for delivery in batch if id(delivery) not in gone]
        ended.set()
        thread.join()
        assert Counter(bodies(found)) == Counter(b"%d" % i for i in range(200))
        assert broker.size(QUEUE) == Size(0, 0, 0)
        assert len(rows(path, "SELECT * FROM fb_owners")) == 1


class Tmpfs:
    """A very small disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
        try:
            made = subprocess.run(mount, capture_output=True, text=True, check=False)
        except OSError as error:
            raise RequirementMissing(
                f"A small disk to be filled cannot be mounted ({error})."
            ) from error
        if made.returncode != 0:
            raise RequirementMissing(
                f"A small disk to be filled cannot be mounted ({made.stderr.strip()}): run this"
                " test as root."
            )

    def close(self) -> None:
        subprocess.run(["umount", str(self.folder)], check=True)


class TestTrouble:
    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[Path]:
        with closing(Tmpfs(tmp_path / "disk")) as disk:
            yield disk.folder

    def test_a_full_disk(self, disk: Path) -> None:
        with closing(open_broker(f"sqlite:///{disk}/queue.db")) as broker:
            inbox = broker.open(QUEUE, consumer_id="c", prefetch=1, lease=60)
            broker.publish(QUEUE, numbered(20))
            held = inbox.fetch(5, 5)
            ballast = disk / "ballast"
            with open(ballast, "wb", buffering=0) as file, suppress(OSError):
                while file.write(b"x" * 4096):
                    pass
            published = 20

            def publish_on() -> None:
                nonlocal published
                while published < 1000:
                    broker.publish(QUEUE, [Outgoing(b"%d" % published + b" " * 5000)])
                    published += 1

            for verb in (
                publish_on,
                lambda: inbox.settle(
                    [Settlement(delivery, Action.BURY, body=b"x" * 50_000) for delivery in held]
                ),
                lambda: broker.publish(QUEUE, [Outgoing(b"x" * 50_000)]),
            ):
                with pytest.raises(Unavailable, match="is full"):
                    verb()
            ballast.unlink()
            ack(inbox, held)
            broker.publish(QUEUE, [Outgoing(b"after")])
            found: list[Delivery] = []
            while batch := inbox.fetch(100, 0):
                found += batch
            assert [body.strip() for body in bodies(found)] == [
                *(b"%d" % i for i in range(5, published)),
                b"after",
            ]
            ack(inbox, found)
            assert broker.size(QUEUE) == Size(0, 0, 0)
            inbox.close()

    def test_opening_on_a_full_disk(self, disk: Path) -> None:
        ballast = disk / "ballast"
        with open(ballast, "wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        with closing(open_broker(f"sqlite:///{disk}/queue.db")) as broker:
            with pytest.raises(Unavailable, match="is full"):
                broker.publish(QUEUE, [Outgoing(b"x")])
            with pytest.raises(Unavailable, match="is full"):
                broker.open(QUEUE, consumer_id="c", prefetch=1, lease=60)
            ballast.unlink()
            broker.publish(QUEUE, [Outgoing(b"x")])
            assert broker.peek(QUEUE, 9) == [b"x"]

    @pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
    @pytest.mark.parametrize("what", ["file", "folder"])
    def test_what_may_not_be_written(
        self, elsewhere: Callable[..., subprocess.Popen[str]], what: str
    ) -> None:
        # pytest's own folder is closed to others, and root may write anywhere: so another place,
        # and another user
        folder = Path(
            subprocess.run(
                ["mktemp", "-d"], capture_output=True, text=True, check=True
            ).stdout.strip()
        )
        try:
            folder.chmod(0o755)
            file = folder / "queue.db"
            if what == "file":
                with closing(open_broker(f"sqlite:///{file}")) as broker:
                    broker.publish(QUEUE, [Outgoing(b"x")])
                file.chmod(0o444)
            folder.chmod(0o555)
            code = """
                if os.getuid() == 0:
                    os.setuid(65534)
                try:
                    broker.publish("work.queue", [Outgoing(b"y")])
                except Unavailable as error:
                    print(error)
                broker.close()
            """
            said = output_of(elsewhere(code, f"sqlite:///{file}"))
            assert said.startswith(str(file))
            assert "permissions" in said or "may write" in said
        finally:
            folder.chmod(0o755)
            subprocess.run(["rm", "-r", str(folder)], check=True)

    def test_a_file_of_something_else(self, broker: Broker, path: Path) -> None:
        path.write_text("Dear diary, " * 100)
        with pytest.raises(Unavailable, match="not an SQLite database"):
            broker.publish(QUEUE, [Outgoing(b"x")])
        with pytest.raises(Unavailable, match="not an SQLite database"):
            broker.open(QUEUE, consumer_id="c", prefetch=1, lease=60)
        assert path.read_text() == "Dear diary, " * 100
        path.unlink()
        broker.publish(QUEUE, [Outgoing(b"x")])
        assert broker.peek(QUEUE, 9) == [b"x"]

    def test_a_folder_in_its_place(self, broker: Broker, path: Path) -> None:
        path.mkdir()
        with pytest.raises(Unavailable, match="is a folder"):
            broker.size(QUEUE)

    def test_a_file_that_is_deleted_under_its_consumers(
        self,
        broker: Broker,
        inbox: Inbox,
        path: Path,
        elsewhere: Callable[[str], subprocess.Popen[str]],
    ) -> None:
        broker.publish(QUEUE, numbered(3))
        lost = [Settlement(delivery) for delivery in inbox.fetch(1, 5)]
        for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            file.unlink(missing_ok=True)
        output_of(elsewhere("""broker.publish("work.queue", [Outgoing(b"new")]); broker.close()"""))
        found = inbox.fetch(10, 5)
        assert bodies(found) == [b"new"], "seen by a consumer that was there before"
        assert inbox.settle(lost) == lost
        ack(inbox, found)
        inbox.keep_alive()
        broker.publish(QUEUE, [Outgoing(b"newer")])
        assert bodies(inbox.fetch(10, 5)) == [b"newer"]

    def test_locked_for_too_long(
        self, broker: Broker, inbox: Inbox, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fbcli.clients.sqlite.BUSY_SECONDS", 0.3)
        broker.publish(QUEUE, numbered(1))
        found = inbox.fetch(1, 5)
        with closing(connect(path, "")) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="was locked by another process"):
                broker.publish(QUEUE, [Outgoing(b"x")])
            with pytest.raises(Unavailable, match="was locked by another process"):
                inbox.settle([Settlement(delivery) for delivery in found])
            other.execute("ROLLBACK")
        ack(inbox, found)
        assert broker.size(QUEUE) == Size(0, 0, 0)


class TestThrift:
    def test_nothing_stays_open(self, path: Path) -> None:
        def descriptors() -> int:
            return len(os.listdir("/proc/self/fd"))

        if not os.path.exists("/proc/self/fd"):
            pytest.skip("there is no /proc to count open files in")
        gc.collect()
        before = descriptors()
        for turn in range(10):
            broker = open_broker(f"sqlite:///{path}")
            inbox = broker.open(QUEUE, consumer_id="c", prefetch=1, lease=60)
            broker.publish(QUEUE, [Outgoing(b"%d" % turn)])
            ack(inbox, inbox.fetch(1, 5))
            inbox.close()
            inbox.keep_alive()
            broker.close()
        assert descriptors() == before

    def test_the_file_does_not_grow_for_ever(
        self, broker: Broker, inbox: Inbox, path: Path
    ) -> None:
        sizes: list[int] = []
        for _ in range(4):
            for _ in range(4):
                broker.publish(QUEUE, [Outgoing(b"x" * 10_000)] * 100)
                ack(inbox, inbox.fetch(100, 5))
            sizes.append(path.stat().st_size)
        assert sizes[-1] <= 2 * max(sizes[0], 2_000_000)

    def test_names_of_queues_may_be_anything(self, broker: Broker) -> None:
        names = ["ąę.队列", "a b'c\"d", "x" * 300, "fb_queues", "%s", "🚀"]
        for name in names:
            broker.publish(name, [Outgoing(name.encode())])
        assert broker.queues() == sorted(names)
        for name in names:
            with closing(broker.open(name, consumer_id="c", prefetch=1, lease=60)) as inbox:
                assert bodies(inbox.fetch(10, 5)) == [name.encode()]

    @pytest.mark.parametrize(
        "constant", ["SELECT_READY", "RIPEN", "LOOK", "CLAIM", "ACK", "RECLAIM", "DELAYED", "PEEK"]
    )
    def test_no_statement_scans_the_table_or_sorts(
        self, broker: Broker, path: Path, constant: str
    ) -> None:
        import fbcli.brokers.sqlite.tables as module

        broker.publish(QUEUE, [Outgoing(b"x")])
        statement = getattr(module, constant)
        fields = {"queue": 1, "n": 1, "now": 0, "last": 0}
        values = fields if ":" in statement else ("1",) * statement.count("?")
        with closing(connect(path, "")) as connection:
            plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + statement, values)]
        assert not [step for step in plan if step == "SCAN fb_messages"], plan
        if constant == "SELECT_READY":
            assert not [step for step in plan if "TEMP B-TREE" in step], plan
