"""`fb consume --watchdog`: one that is deaf ends and says so; one that has a reason to get nothing
stays."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.cli.shell import Shell
from tests.servers import wait_until
from tests.servers.redis import RedisServer

WATCHDOG = ("--watchdog", "1", "--heartbeat", "1")
PEACE = 4.0
"""Seconds for which those are watched that shall not end: four times the limit."""

DEAF = '''
"""A broker that breaks: its consumers hear nothing any more once they have fetched something."""

import threading

from fbcli import Inbox, register_broker
from fbcli.brokers.sqlite.broker import SqliteBroker


class DeafInbox(Inbox):
    def __init__(self, inbox):
        self.inbox = inbox
        self.deaf = False

    def fetch(self, limit, wait):
        if self.deaf:
            return self.ignore(wait)
        found = self.inbox.fetch(limit, wait)
        self.deaf = bool(found)
        return found

    def ignore(self, wait):
        return self.inbox.fetch(0, wait)

    def settle(self, settlements, also=None):
        return self.inbox.settle(settlements, also)

    def wake(self):
        self.inbox.wake()

    def keep_alive(self):
        return self.inbox.keep_alive()

    def close(self):
        self.inbox.close()


class HangingInbox(DeafInbox):
    """Its fetch does not even return."""

    def ignore(self, wait):
        threading.Event().wait()


class DeafBroker(SqliteBroker):
    def open(self, queue, **how):
        return DeafInbox(super().open(queue, **how))

    def keep_alive(self, inboxes):
        return super().keep_alive([inbox.inbox for inbox in inboxes])


class HangingBroker(DeafBroker):
    def open(self, queue, **how):
        return HangingInbox(SqliteBroker.open(self, queue, **how))


register_broker("deaf", DeafBroker)
register_broker("hanging", HangingBroker)
'''

WORK = """
import time


def note(x, seconds=0.0):
    with open("notes", "a") as file:
        file.write(f"{x}\\n")
    time.sleep(seconds)


idle = paused = full = note
"""


@pytest.fixture
def module(fb: Shell) -> None:
    """`work`, which knows the two broken brokers, too."""
    fb.write("work.py", DEAF + WORK)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer(appendonly=True) as server:
        yield server


def notes(fb: Shell) -> Counter[str]:
    path = fb.folder / "notes"
    return Counter(path.read_text().split() if path.exists() else ())


def holds(fb: Shell, *where: str) -> int:
    """Return how many messages there are in all queues."""
    rows = [json.loads(line) for line in fb.ok("queues", "--json", *where).lines]
    return sum(row["ready"] + row["in_flight"] + row["dead"] for row in rows)


def watch(*consumers: subprocess.Popen[str]) -> None:
    """See that nobody ends for a while."""
    end = time.monotonic() + PEACE
    while time.monotonic() < end:
        for consumer in consumers:
            assert consumer.poll() is None, consumer.communicate()
        time.sleep(0.05)


@pytest.mark.parametrize("scheme", ["deaf", "hanging"])
def test_a_deaf_consumer_ends_with_4_and_loses_nothing(
    fb: Shell, module: None, scheme: str
) -> None:
    real, store = f"sqlite:///{fb.folder}/queue.db", f"sqlite:///{fb.folder}/store.db"
    sound = ("--broker", real, "--store", store)
    fb.ok("push", "work:note", "x=1", *sound)
    broken = fb.start(
        "consume",
        "work:note",
        "--broker",
        real.replace("sqlite", scheme),
        "--store",
        store,
        *WATCHDOG,
    )
    wait_until(lambda: bool(notes(fb)), "the first message")
    fb.ok("push", "work:note", "-", *sound, input='{"x": 2}\n{"x": 3}\n')  # both at once
    output, errors = broken.communicate(timeout=20)
    assert broken.returncode == 4, errors
    assert "messages are waiting: it is deaf" in errors
    assert "Traceback" not in output + errors
    other = fb.start("consume", "work:note", *sound)
    wait_until(lambda: holds(fb, *sound) == 0, "another one to do the rest")
    other.terminate()
    assert other.wait(20) == 0
    expected = {"1": 1 if scheme == "deaf" else 2, "2": 1, "3": 1}
    assert notes(fb) == expected, (
        "what one that hangs could not settle runs again, nothing else does"
    )


def test_who_idles_is_paused_or_has_no_room_stays(fb: Shell, module: None) -> None:
    fb.ok("pause", "work:paused")
    for name in ("idle", "paused", "full"):
        fb.ok("push", f"work:{name}", f"x={name}", f"seconds={PEACE + 3 if name == 'full' else 0}")
    fb.ok("push", "work:full", "x=next")
    consumers = {
        name: fb.start(
            "consume", f"work:{name}", "--concurrency", "1", "--log-file", f"{name}.log", *WATCHDOG
        )
        for name in ("idle", "paused", "full")
    }
    wait_until(lambda: set(notes(fb)) == {"idle", "full"}, "them to work")
    paused = fb.folder / "paused.log"
    wait_until(
        lambda: paused.exists() and "is paused" in paused.read_text(),
        "it to know that it is paused",
    )
    watch(*consumers.values())
    fb.ok("resume", "work:paused")
    fb.ok("push", "work:idle", "x=more")
    wait_until(
        lambda: notes(fb) == {"idle": 1, "full": 1, "more": 1, "paused": 1, "next": 1},
        "them to go on",
    )
    for consumer in consumers.values():
        consumer.terminate()
        assert consumer.wait(20) == 0, consumer.communicate()


def test_who_cannot_reach_its_broker_stays(fb: Shell, module: None, server: RedisServer) -> None:
    fb.env["FB_BROKER"] = server.url
    lines = "".join(f'{{"x": {x}, "seconds": 0.2}}\n' for x in range(15))
    fb.ok("push", "work:note", "-", input=lines)
    consumer = fb.start("consume", "work:note", "--concurrency", "1", *WATCHDOG)
    wait_until(lambda: len(notes(fb)) >= 3, "it to work")
    server.pause()
    watch(consumer)
    server.resume()
    wait_until(lambda: len(notes(fb)) == 15, "it to go on")
    server.kill()
    watch(consumer)
    server.start()
    fb.ok("push", "work:note", "x=after")
    wait_until(lambda: notes(fb)["after"] > 0, "it to go on")
    consumer.terminate()
    assert consumer.wait(20) == 0
