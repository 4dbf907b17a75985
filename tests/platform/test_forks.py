"""What does not survive a fork is not used in a child, which makes its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from fbcli.platform.forks import PerProcess

LONG = 20.0
"""Seconds that no wait of these tests may take."""

posix = pytest.mark.skipif(sys.platform == "win32", reason="only POSIX forks")


class Client:
    """What belongs to the process that made it."""


def elsewhere(monkeypatch: pytest.MonkeyPatch, pid: int) -> None:
    """From here on, this is another process."""
    monkeypatch.setattr("os.getpid", lambda: pid)


def test_it_is_made_once_when_it_is_needed() -> None:
    own: PerProcess[Client] = PerProcess()
    assert own.peek() is None
    assert own.take() is None
    client = own.get(Client)
    assert own.get(Client) is client
    assert own.peek() is client


def test_what_was_taken_away_is_made_anew() -> None:
    own: PerProcess[Client] = PerProcess()
    client = own.get(Client)
    assert own.take() is client
    assert own.take() is own.peek() is None
    assert own.get(Client) is not client


def test_one_that_is_of_no_use_any_more_is_made_anew_once() -> None:
    own: PerProcess[Client] = PerProcess()
    stale = own.get(Client)
    own.forget(stale)
    fresh = own.get(Client)
    assert fresh is not stale
    own.forget(stale)
    assert own.get(Client) is fresh, "somebody else had noticed, too, and was slower"


def test_nothing_is_kept_of_one_that_could_not_be_made() -> None:
    own: PerProcess[Client] = PerProcess()

    def fail() -> Client:
        raise OSError("no such host")

    with pytest.raises(OSError, match="no such host"):
        own.get(fail)
    assert own.peek() is None
    assert isinstance(own.get(Client), Client)


def test_what_is_false_is_there_too() -> None:
    own: PerProcess[dict[str, str]] = PerProcess()
    assert own.get(dict) is own.get(dict)


def test_threads_that_ask_together_get_the_same() -> None:
    own: PerProcess[Client] = PerProcess()
    made: list[Client] = []
    together = threading.Barrier(8)
    got: list[Client] = []

    def make() -> Client:
        made.append(Client())
        return made[-1]

    def ask() -> None:
        together.wait(LONG)
        got.append(own.get(make))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert got == made * 8


def test_another_process_makes_its_own_and_leaves_the_parents_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own: PerProcess[Client] = PerProcess()
    parents = own.get(Client)
    elsewhere(monkeypatch, -5)
    assert own.peek() is None
    assert own.take() is None
    mine = own.get(Client)
    assert mine is not parents
    assert own.get(Client) is mine
    monkeypatch.undo()
    assert own.get(Client) is parents


def test_the_parents_is_kept_as_long_as_it_is_not_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []

    class Mourned:
        def __del__(self) -> None:
            gone.append("threads waited for")

    own: PerProcess[Mourned] = PerProcess()
    own.get(Mourned)
    elsewhere(monkeypatch, -5)
    own.get(Mourned)
    own.take()
    assert gone == ["threads waited for"], "its own"


def test_the_parents_is_let_go_of_once_where_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    let_go: list[Client] = []
    own: PerProcess[Client] = PerProcess(let_go.append)
    parents = own.get(Client)
    assert not let_go
    elsewhere(monkeypatch, -5)
    own.get(Client)
    own.get(Client)
    assert let_go == [parents]
    elsewhere(monkeypatch, -6)
    own.get(Client)
    assert len(let_go) == 2


def in_process(script: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=LONG
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@posix
def test_a_fork_while_it_is_being_made_holds_nobody_up() -> None:
    """The lock that another thread of the parent holds is not the child's."""
    script = """
import os, threading, warnings
from fbcli.platform.forks import PerProcess
warnings.simplefilter("ignore")
own, making, go_on = PerProcess(), threading.Event(), threading.Event()

def slowly():
    making.set()
    go_on.wait()
    return "parent's"

thread = threading.Thread(target=own.get, args=(slowly,))
thread.start()
making.wait()
pid = os.fork()
if not pid:
    print(own.get(lambda: "child's"), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
go_on.set()
thread.join()
print(own.get(lambda: "another"), flush=True)
"""
    assert in_process(script) == ["child's", "parent's"]


@posix
def test_what_is_closed_at_forks_cannot_be_opened_during_one() -> None:
    script = """
import os, gc
from fbcli.platform.forks import close_at_forks

class Resource:
    def __init__(self, name):
        self.name = name
        close_at_forks(self)
    def before_fork(self):
        os.write(1, f"closed {self.name}\\n".encode())
    def after_fork(self):
        os.write(1, f"opened {self.name} {os.getpid() != parent}\\n".encode())

parent = os.getpid()
kept, dropped = Resource("kept"), Resource("dropped")
del dropped
gc.collect()
pid = os.fork()
if not pid:
    os._exit(0)
os.waitpid(pid, 0)
"""
    said = in_process(script)
    assert said[:2] == ["closed", "kept"]
    assert sorted(said[4::3]) == ["False", "True"], "in the parent and in the child"
    assert "dropped" not in said


@posix
def test_a_redis_client_is_made_anew_and_the_parents_connection_goes_on(redis_url: str) -> None:
    script = f"""
import os
from fbcli.brokers.redis.connections import Reach, RedisConnection
reach = Reach({redis_url!r})
link = RedisConnection(reach, "key", identify=True)
link.call(("PING",))
mine = link.client_id
pid = os.fork()
if not pid:
    link.call(("PING",))
    print("child", link.client_id != mine, flush=True)
    link.close()
    os._exit(0)
os.waitpid(pid, 0)
link.call(("PING",))
print("parent", link.client_id == mine, flush=True)
"""
    assert in_process(script) == ["child", "True", "parent", "True"]


def test_its_use_is_known_by_the_process_id_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork in C calls no hook of Python: nothing but the id tells."""
    hooks: list[Any] = []
    monkeypatch.setattr(os, "register_at_fork", lambda **given: hooks.append(given), raising=False)
    own: PerProcess[Client] = PerProcess()
    first = own.get(Client)
    elsewhere(monkeypatch, -7)
    assert own.get(Client) is not first
    assert not hooks
