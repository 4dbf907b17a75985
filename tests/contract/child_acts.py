"""What the pools of child processes are asked to do in tests: functions that a child can import."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import fbcli
from fbcli.errors import Retry

calls = 0
hoard: list[bytearray] = []


def nothing() -> None:
    pass


def nap(seconds: float) -> None:
    time.sleep(seconds)


def bad() -> None:
    raise SystemExit(3)


class Mute(Exception):
    def __str__(self) -> str:
        raise KeyError("no words")


def fail_mutely() -> None:
    raise Mute


def fail_with_cause() -> None:
    try:
        bad_number = int("x")
    except ValueError as error:
        raise RuntimeError("outer") from error
    nap(bad_number)


def pid() -> int:
    return os.getpid()


def count() -> int:
    """Return how many calls this process has made of it."""
    global calls
    calls += 1
    return calls


def note(path: str, text: str, seconds: float = 0.0) -> None:
    with open(path, "a") as file:
        file.write(f"{text}\n")
    time.sleep(seconds)


def echo(value: Any) -> Any:
    return value


def odd_value() -> Any:
    return {"path": Path("/tmp"), "object": object}


def text_of(what: str) -> Any:
    """Return how this process is."""
    return {
        "path": sys.path,
        "argv": sys.argv,
        "folder": os.getcwd(),
        "stdin": os.readlink("/proc/self/fd/0"),
        "threads": [thread.name for thread in threading.enumerate()],
        "session": os.getsid(0) == os.getpid(),
    }[what]


def current() -> dict[str, Any]:
    task = fbcli.current()
    return {
        "task_id": task.task_id,
        "queue": task.queue,
        "attempt": task.attempt,
        "arguments": task.arguments,
        "extra": task.extra,
        "deliveries": task.deliveries,
        "retries": task.options.retries,
    }


def segfault() -> None:
    ctypes.string_at(0)


def leave(code: int) -> None:
    os._exit(code)


def crash_once(path: str) -> str:
    """End the process at the first attempt."""
    if not os.path.exists(path):
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "second"


def stuck_in_regex() -> None:
    """Be busy in C, with the interpreter's lock held, for longer than anybody waits."""
    re.match(r"(a|a)*$", "a" * 60 + "b")


def start_sleeper(path: str) -> None:
    """Wait for a process of its own."""
    sleeper = subprocess.Popen(["sleep", "60"])
    Path(path).write_text(str(sleeper.pid))
    sleeper.wait()


def close_files() -> None:
    os.closerange(3, 256)
    time.sleep(60)


def remember(size: int) -> int:
    """Hold so many bytes more."""
    hoard.append(bytearray(os.urandom(1024)) * (size // 1024))
    return os.getpid()


def forked() -> bool:
    """Fork, and have the fork end by TERM."""
    fork = os.fork()
    if fork == 0:
        time.sleep(60)
        os._exit(0)
    os.kill(fork, signal.SIGTERM)
    _, status = os.waitpid(fork, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM


def fail(text: str) -> None:
    raise ConnectionRefusedError(text)


def ask_for_retry() -> None:
    raise Retry("later", after=7.0)


def interrupted(path: str) -> None:
    """Note what it is interrupted with."""
    try:
        time.sleep(60)
    except BaseException as error:
        Path(path).write_text(type(error).__name__)
        raise


async def loop_id() -> int:
    import asyncio

    await asyncio.sleep(0)
    return id(asyncio.get_running_loop())


def say(text: str) -> None:
    print(text)
    logging.getLogger("acts").warning("%s, logged", text)


def extend(seconds: float, nap: float) -> bool:
    granted = fbcli.current().extend(seconds)
    time.sleep(nap)
    return granted


def sockets(seconds: float) -> bool:
    """Wait on a socket for an answer that comes after so many seconds, from a thread of its own."""
    import socket

    here, there = socket.socketpair()
    threading.Timer(seconds, lambda: there.sendall(b"x")).start()
    return here.recv(1) == b"x"


def speak(send: Any, wishes: dict[str, Any]) -> None:
    """Be the output of a child."""
    send({"spoken": f"{wishes['prefix']}hello"})


def typed(when: datetime, where: Path, names: set[str]) -> list[str]:
    return [type(each).__name__ for each in (when, where, names)]


def batch(rows: list[dict[str, Any]]) -> list[int]:
    return [row["n"] + row["n"] + 0 for row in rows]
