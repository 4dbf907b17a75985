"""Waiting and being woken: whatever is waited for beside, no reason to stop is missed."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fbcli.brokers.waiting import Heard, Waker, readable
from fbcli.platform import system
from fbcli.platform.windows import Windows

LONG = 20.0
"""Seconds that no wait of these tests may take."""

Wait = Callable[[Waker, float], Heard]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


@pytest.fixture(params=["bell", "file", "sockets", "sockets elsewhere"])
def wait(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    pair: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> Wait:
    """Each way to wait, with nothing to come from its source."""
    if request.param == "bell":
        return lambda waker, seconds: "waker" if waker.wait(seconds) else "nothing"
    if request.param == "file":
        (tmp_path / "log").touch()
        watch = system.watch_file(tmp_path / "log")
        if watch is None:
            pytest.skip("this system does not tell of writes to files")
        return lambda waker, seconds: waker.wait_for_file(watch, seconds)
    if request.param == "sockets elsewhere":
        monkeypatch.setattr("fbcli.brokers.waiting.system", Windows())
    return lambda waker, seconds: waker.wait_for_sockets(pair, seconds)


@pytest.fixture
def waker() -> Iterator[Waker]:
    made = Waker()
    yield made
    made.close()


def test_a_wait_ends_by_itself(waker: Waker, wait: Wait) -> None:
    assert wait(waker, 0.01) == "nothing"
    assert wait(waker, 0) == "nothing"
    assert wait(waker, -1) == "nothing"
    assert not waker.was_woken()
    assert not waker.has_news()


def test_either_reason_ends_it_and_is_told_once(waker: Waker, wait: Wait) -> None:
    for say, ask, other in (
        (waker.wake, waker.was_woken, waker.has_news),
        (waker.notify, waker.has_news, waker.was_woken),
    ):
        ringer = threading.Timer(0.03, say)
        ringer.start()
        assert wait(waker, LONG) == "waker"
        ringer.join()
        assert not other()
        assert ask()
        assert not ask()
        assert wait(waker, 0.01) == "nothing"


def test_a_reason_before_the_wait_ends_it_at_once(waker: Waker, wait: Wait) -> None:
    for _ in range(1000):
        waker.wake()
    assert wait(waker, LONG) == "waker"
    assert waker.was_woken()
    assert wait(waker, 0.01) == "nothing", "those that were heard together are one"


def test_a_reason_that_is_known_ends_no_wait_any_more(waker: Waker, wait: Wait) -> None:
    waker.wake()
    waker.notify()
    assert waker.was_woken()
    assert wait(waker, LONG) == "waker", "the other one is not known yet"
    assert waker.has_news()
    waker.notify()
    assert waker.has_news()
    assert wait(waker, 0.01) == "nothing"


def test_of_many_rings_in_any_thread_none_is_missed(waker: Waker, wait: Wait) -> None:
    """Each thread says something, and says the next thing once that was heard."""
    threads, rounds = 3, 300
    said, heard = [0] * threads, [0] * threads
    answered = [threading.Semaphore(0) for _ in range(threads)]

    def speak(number: int) -> None:
        for turn in range(1, rounds + 1):
            said[number] = turn
            (waker.wake if (turn + number) % 2 else waker.notify)()
            answered[number].acquire(timeout=LONG)

    speakers = [threading.Thread(target=speak, args=(number,)) for number in range(threads)]
    for speaker in speakers:
        speaker.start()
    deadline = time.monotonic() + 2 * LONG
    while heard != [rounds] * threads:
        assert time.monotonic() < deadline
        if not (waker.was_woken() or waker.has_news()):
            assert wait(waker, LONG) == "waker" or wait(waker, LONG) == "waker", "one was missed"
        now = list(said)
        for number in range(threads):
            if now[number] > heard[number]:
                heard[number] = now[number]
                answered[number].release()
    for speaker in speakers:
        speaker.join(LONG)


def test_what_arrives_at_a_socket_ends_the_wait(
    waker: Waker, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    sender = threading.Timer(0.03, far.send, (b"x",))
    sender.start()
    assert waker.wait_for_sockets([near], LONG) == "source"
    sender.join()
    assert waker.wait_for_sockets([near], LONG) == "source", "it is still there"
    waker.wake()
    assert waker.wait_for_sockets([near], LONG) == "waker", "whoever wants it back comes first"
    assert waker.was_woken()
    near.recv(1)
    assert waker.wait_for_sockets([near], 0.01) == "nothing"
    far.close()
    assert waker.wait_for_sockets([near], LONG) == "source", "its end, too"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of writes by inotify")
def test_a_write_to_a_file_ends_the_wait(waker: Waker, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    watch = system.watch_file(log)
    assert watch is not None
    writer = threading.Timer(0.03, log.write_bytes, (b"x",))
    writer.start()
    assert waker.wait_for_file(watch, LONG) == "source"
    writer.join()


class Decrypted:
    """A TLS socket that holds what the system does not know of any more."""

    def __init__(self, sock: socket.socket, held: int) -> None:
        self._sock, self._held = sock, held

    def fileno(self) -> int:
        return self._sock.fileno()

    def pending(self) -> int:
        return self._held


def test_what_tls_has_decrypted_counts(
    waker: Waker, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, _ = pair
    assert readable([Decrypted(near, 3)], LONG)
    assert waker.wait_for_sockets([Decrypted(near, 3)], LONG) == "source"
    assert not readable([Decrypted(near, 0)], 0)
    assert waker.wait_for_sockets([Decrypted(near, 0)], 0) == "nothing"


def test_it_takes_a_descriptor_only_for_sockets_and_gives_it_back(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    make = system.wakeup
    monkeypatch.setattr(system, "wakeup", lambda: made.append(make()) or made[-1])
    waker = Waker()
    waker.wake()
    assert waker.wait(0)
    assert not made
    for _ in range(3):
        waker.wait_for_sockets(pair, 0)
    assert len(made) == 1
    waker.close()
    waker.close()
    waker.wake()
    assert waker.was_woken()
