"""Commands without the start of an interpreter each: a process that has imported what they need
forks for every one of them.

What is left of a start is what a test is about: a process of its own, with its own folder,
environment, streams and exit code. FB_TEST_FRESH=1 starts interpreters all the same.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_STARTED: list[ForkServer] = []


def fork_server() -> ForkServer | None:
    """Return the server of this process, started at the first call; None where there is to be
    none."""
    if os.environ.get("FB_TEST_FRESH") or not hasattr(socket, "send_fds"):
        return None
    if not _STARTED:
        _STARTED.append(ForkServer())
    return _STARTED[0]


class ForkServer:
    """The side of the tests."""

    def __init__(self) -> None:
        from tests.installed import FB, clean_environment

        self._folder = tempfile.TemporaryDirectory(prefix="fb-fork-")
        self._address = f"{self._folder.name}/s"
        self._process = subprocess.Popen(
            [sys.executable, __file__, self._address, str(FB)],
            stdin=subprocess.PIPE,  # it ends when this end is closed, however we end
            stdout=subprocess.PIPE,
            env=clean_environment(Path(self._folder.name), PYTHONDONTWRITEBYTECODE="1"),
        )
        atexit.register(self.close)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def close(self) -> None:
        self._process.communicate(timeout=10)
        self._folder.cleanup()

    def run(
        self,
        words: Sequence[str],
        folder: Path,
        env: Mapping[str, str],
        streams: tuple[int, int, int],
        timeout: float,
    ) -> int:
        """Run `fb` with these words on these open files; return its exit code, negative for a
        signal. Raises `TimeoutExpired`, and kills it then."""
        asked = json.dumps({"words": [*map(str, words)], "folder": str(folder), "env": dict(env)})
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._address)
            socket.send_fds(connection, [b"\n"], list(streams))
            connection.sendall(asked.encode() + b"\n")
            connection.settimeout(timeout)
            replies = connection.makefile("rb")
            pid = int(replies.readline())
            try:
                return int(replies.readline())
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(["fb", *words], timeout) from None


def serve(address: str, fb: str) -> None:
    """Fork for each command until stdin is closed. Returns in the child, as a fresh interpreter
    would stand there."""
    _import_all()
    gc.freeze()  # what no child collects need not be copied
    sys.path[0] = os.path.dirname(fb)
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    waiting: dict[int, socket.socket] = {}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listener, woken, 0], [], [])
            if 0 in ready:
                os._exit(0)
            if woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, 4096)
                _tell_the_end(waiting)
            if listener in ready:
                connection, _ = listener.accept()
                asked, streams = _receive(connection)
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for end in (woken, wake):
                        os.close(end)
                    for other in (connection, *waiting.values()):
                        other.close()
                    _become(asked, streams)
                    return
                for stream in streams:
                    os.close(stream)
                connection.sendall(b"%d\n" % pid)
                waiting[pid] = connection


def _import_all() -> None:
    from fbcli.broker_registry import open_broker
    from fbcli.commands._listing import commands

    for name in commands():
        importlib.import_module(f"fbcli.commands.{name}")
    for name in ("typer.rich_utils", "fbcli.console.drawing", "fbcli.console.failure"):
        importlib.import_module(name)
    for url in ("sqlite:///none/queue.db", "redis://127.0.0.1:1"):
        with contextlib.suppress(Exception):
            open_broker(url).close()


def _tell_the_end(waiting: dict[int, socket.socket]) -> None:
    while waiting:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with waiting.pop(pid) as connection, contextlib.suppress(OSError):
            connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    _, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_LEN(3 * 4))
    streams = array.array("i", ancillary[0][2]).tolist()
    with connection.makefile("rb") as asking:
        return json.loads(asking.readline()), streams


def _become(asked: dict[str, Any], streams: Sequence[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["env"])
    time.tzset()
    for name, mode, errors in (
        ("stdin", "r", "strict"),
        ("stdout", "w", "strict"),
        ("stderr", "w", "backslashreplace"),
    ):
        number = ("stdin", "stdout", "stderr").index(name)
        stream = os.fdopen(number, mode, 1 if name == "stderr" else -1, errors=errors)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv[1:] = asked["words"]


if __name__ == "__main__":
    program = sys.argv[2]
    serve(sys.argv[1], program)
    runpy.run_path(program, run_name="__main__")
