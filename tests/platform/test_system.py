"""The interface to the system: here it does what it says, and where it cannot yet, it says so."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fbcli.errors import ExitCode, Unsupported
from fbcli.platform import Request, Wakeup, system
from fbcli.platform.interface import MOST_BYTES
from fbcli.platform.signals import arriving, how_ended
from fbcli.platform.sockets import keepalive_options
from fbcli.platform.wakeup import PairWakeup
from fbcli.platform.windows import Windows

posix = pytest.mark.skipif(sys.platform == "win32", reason="only POSIX has them")

LONG = 20.0
"""Seconds that no wait of these tests may take."""


def readable(file: int, seconds: float = 0.0) -> bool:
    return system.wait_readable([file], seconds) == [file]


# wake-ups


@pytest.fixture(params=["pair", "system"])
def wakeup(request: pytest.FixtureRequest) -> Iterator[Wakeup]:
    made = PairWakeup() if request.param == "pair" else system.wakeup()
    yield made
    made.close()


def test_a_wakeup_is_readable_from_ring_to_silence(wakeup: Wakeup) -> None:
    assert not readable(wakeup.fileno())
    wakeup.silence()
    assert not readable(wakeup.fileno())
    for _ in range(3):
        wakeup.ring()
    assert readable(wakeup.fileno())
    wakeup.silence()
    assert not readable(wakeup.fileno()), "many rings are one"
    wakeup.ring()
    assert readable(wakeup.fileno())


def test_a_wakeup_takes_any_number_of_rings(wakeup: Wakeup) -> None:
    for _ in range(100_000):
        wakeup.ring()
    assert readable(wakeup.fileno())
    wakeup.silence()
    assert not readable(wakeup.fileno())


def test_a_wakeup_ends_a_wait_in_another_thread(wakeup: Wakeup) -> None:
    ringer = threading.Timer(0.05, wakeup.ring)
    ringer.start()
    assert readable(wakeup.fileno(), LONG)
    ringer.join()


def test_a_wakeup_may_be_rung_when_it_is_closed(wakeup: Wakeup) -> None:
    wakeup.close()
    wakeup.ring()
    wakeup.close()


# waiting


def test_waiting_for_descriptors_ends_with_data_with_their_end_and_with_time() -> None:
    near, far = socket.socketpair()
    with near, far:
        files = [near.fileno(), far.fileno()]
        assert not system.wait_readable(files, 0.01)
        far.send(b"x")
        assert system.wait_readable(files, LONG) == [near.fileno()]
        assert system.wait_readable(files, None) == [near.fileno()]
        near.recv(1)
        assert not system.wait_readable(files, 0)
        far.shutdown(socket.SHUT_WR)
        assert system.wait_readable(files, LONG)


def test_waiting_does_without_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that eventlet has patched."""
    monkeypatch.delattr(select, "poll", raising=False)
    test_waiting_for_descriptors_ends_with_data_with_their_end_and_with_time()


@posix
def test_input_is_seen_before_it_is_read(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    try:
        assert not system.has_input(reader)
        os.write(writer, b"x")
        assert system.has_input(reader)
    finally:
        os.close(reader)
        os.close(writer)
    with (tmp_path / "file").open("w+b") as file:
        assert system.has_input(file.fileno()), "a file never lets one wait"


# signals and forks


@pytest.mark.parametrize("number", list(system.requests))
def test_signals_arrive_as_bytes_and_their_handlers_come_back(number: int) -> None:
    before = signal.getsignal(number)
    with arriving(system.requests) as arrived:
        arrived.settimeout(LONG)
        signal.raise_signal(number)
        assert arrived.recv(10) == bytes([number])
    assert signal.getsignal(number) is before
    assert signal.set_wakeup_fd(-1) == -1


def test_every_system_has_signals_to_stop() -> None:
    for each in (system, Windows()):
        assert each.requests[signal.SIGTERM] is each.requests[signal.SIGINT] is Request.STOP
        assert signal.SIGTERM in each.endings
        assert set(each.endings) <= set(each.requests)


@posix
def test_what_is_called_around_a_fork(tmp_path: Path) -> None:
    script = """
import os, sys
from fbcli.platform import system
told = []
system.at_fork(before=lambda: told.append("before"), in_child=lambda: told.append("child"))
system.at_fork(in_parent=lambda: told.append("parent"))
pid = os.fork()
if pid:
    os.waitpid(pid, 0)
print(*told, flush=True)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["before child", "before parent"], done.stderr


def test_the_options_of_a_connection_that_notices_silence() -> None:
    options = keepalive_options(idle=15, interval=5, count=3)
    with socket.socket() as sock:
        for option, value in options.items():
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
            assert sock.getsockopt(socket.IPPROTO_TCP, option) == value
    assert sorted(options.values()) == [3, 5, 15] or sys.platform == "darwin"


# child processes

CHILD = """
import sys
from fbcli.platform import system
channel, pipe = system.channel_to_parent(), system.inherited_pipe(sys.argv[1])
assert sys.stdin.read() == ""
while record := pipe.read(8):
    channel.sendall(record)
"""


@posix
def test_a_child_has_its_channel_and_shares_the_pipe(tmp_path: Path) -> None:
    pipe = system.record_pipe()
    ours, theirs = socket.socketpair()
    with pytest.raises(BlockingIOError):
        pipe.read(8)
    assert pipe.write(b"record 1record 2record 3")
    assert pipe.read(8) == b"record 1", "the parent may take some back"
    assert pipe.unread() == 16
    pipe.finish()
    pipe.finish()
    with ours, theirs:
        child = system.start_child(
            [sys.executable, "-c", CHILD], theirs, pipe=pipe, folder=str(tmp_path)
        )
        theirs.close()
        ours.settimeout(LONG)
        said = b""
        while piece := ours.recv(100):
            said += piece
        assert said == b"record 2record 3"
        assert child.wait(LONG) == 0
    pipe.wait()
    assert pipe.read(8) == b""
    pipe.close()
    pipe.close()


@posix
def test_a_pipe_takes_records_whole_or_not_at_all() -> None:
    pipe = system.record_pipe()
    batches = 0
    while pipe.write(b"12345678" * (MOST_BYTES // 8)):
        batches += 1
    assert batches > 0
    assert pipe.unread() == batches * MOST_BYTES
    assert pipe.read(8) == b"12345678"
    pipe.close()


@posix
def test_a_group_ends_as_a_whole() -> None:
    ours, theirs = socket.socketpair()
    script = (
        "import subprocess, sys, time; from fbcli.platform import system;"
        " channel = system.channel_to_parent();"
        " subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
        " stdin=channel.fileno()); channel.sendall(b'x'); time.sleep(60)"
    )
    with ours, theirs:
        child = system.start_child([sys.executable, "-c", script], theirs)
        theirs.close()
        ours.settimeout(LONG)
        assert ours.recv(1) == b"x"
        system.kill_group(child.pid)
        assert ours.recv(1) == b"", "what it has started has the channel, and is gone too"
        code = child.wait(LONG)
        assert system.was_killed(code)
        assert how_ended(code) == "was killed by SIGKILL"
        system.kill_group(child.pid)


@posix
def test_a_child_follows_its_parent_where_the_system_does_not_kill_it() -> None:
    ours, theirs = socket.socketpair()
    script = (
        "import threading, time; from fbcli.platform import system;"
        " channel = system.channel_to_parent();"
        " threading.Thread(target=system.follow_parent, args=(channel,), daemon=True).start();"
        " channel.sendall(b'x'); time.sleep(60)"
    )
    with theirs:
        child = system.start_child([sys.executable, "-c", script], theirs)
    with ours:
        ours.settimeout(LONG)
        assert ours.recv(1) == b"x"
    assert system.was_killed(child.wait(LONG))


@posix
def test_processes_are_seen_frozen_and_killed() -> None:
    script = "import time\nwhile True: print('.', flush=True); time.sleep(0.001)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        assert (child.pid, os.getpid()) in set(system.parents())
        system.freeze(child.pid)
        while readable(child.stdout.fileno(), 0.05):
            os.read(child.stdout.fileno(), 65536)
        system.kill(child.pid)
        assert system.was_killed(child.wait(LONG))
    system.kill(child.pid)
    system.freeze(child.pid)


def test_how_a_process_ended() -> None:
    assert how_ended(0) == "ended with exit code 0"
    assert how_ended(3) == "ended with exit code 3"
    assert how_ended(-signal.SIGTERM) == "was killed by SIGTERM"
    assert how_ended(-250) == "was killed by signal 250"


# not yet


@pytest.mark.parametrize(
    "act",
    [
        lambda windows: windows.check_children(),
        lambda windows: windows.record_pipe(),
        lambda windows: windows.start_child([], None),
        lambda windows: windows.channel_to_parent(),
        lambda windows: windows.inherited_pipe("3"),
        lambda windows: windows.die_with_parent(1),
        lambda windows: windows.kill_group(1),
        lambda windows: windows.parents(),
    ],
)
def test_what_windows_cannot_do_yet_is_said_with_what_to_do(
    act: Callable[[Windows], object],
) -> None:
    with pytest.raises(Unsupported, match=r"Windows.*\. (Use|Run)") as caught:
        act(Windows())
    assert caught.value.exit_code == ExitCode.UNSUPPORTED


def test_what_windows_needs_no_child_for_works_there_too() -> None:
    windows = Windows()
    wakeup = windows.wakeup()
    assert not windows.wait_readable([wakeup.fileno()], 0.01)
    wakeup.ring()
    assert windows.wait_readable([wakeup.fileno()], LONG)
    wakeup.close()
    assert windows.has_input(0)
    assert windows.watch_file(Path(__file__)) is None
    assert windows.resident_bytes() is None
    windows.at_fork(before=lambda: time.sleep(LONG))
