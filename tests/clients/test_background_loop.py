"""A client library of asyncio, called from any thread: errors come out in the caller, nothing
hangs, nothing that was handed over is lost."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import CancelledError

import pytest

from fbcli.clients import background_loop as module
from fbcli.clients.background_loop import BackgroundLoop, background_loop
from fbcli.errors import Unavailable
from tests.servers import wait_until

LONG = 20.0
"""Seconds that no wait of these tests may take."""


@pytest.fixture
def loop() -> Iterator[BackgroundLoop]:
    made = BackgroundLoop()
    yield made
    made.close()
    assert not made._thread.is_alive()


async def echo(value: int) -> int:
    await asyncio.sleep(0)
    return value


async def fail() -> None:
    raise ValueError("no such subject")


class Endless:
    """A coroutine that ends when it is cancelled, and says so."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.tidied = threading.Event()

    async def __call__(self) -> None:
        self.begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            self.tidied.set()


def test_what_a_coroutine_returns_or_raises_comes_out_in_the_caller(loop: BackgroundLoop) -> None:
    assert loop.run(echo(7), LONG) == 7
    with pytest.raises(ValueError, match="no such subject") as caught:
        loop.run(fail(), LONG)
    assert caught.traceback[-1].name == "fail", "with the place where it was raised"
    assert loop.run(echo(8), LONG) == 8


def test_any_number_of_threads_may_call_it(loop: BackgroundLoop) -> None:
    got: list[int] = []

    def ask(number: int) -> None:
        got.extend(loop.run(echo(number * 100 + turn), LONG) for turn in range(50))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert sorted(got) == [number * 100 + turn for number in range(8) for turn in range(50)]
    wait_until(lambda: not loop._calls, "what has ended to be forgotten")


def test_a_coroutine_that_takes_too_long_is_ended(loop: BackgroundLoop) -> None:
    endless = Endless()
    with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
        loop.run(endless(), 0.05)
    assert endless.tidied.is_set(), "before the caller goes on"


def test_what_comes_in_the_last_moment_is_not_lost(loop: BackgroundLoop) -> None:
    async def handed_over() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
        return "messages"

    assert loop.run(handed_over(), 0.05) == "messages"

    async def failed() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise ConnectionError("lost")

    with pytest.raises(ConnectionError, match="lost"):
        loop.run(failed(), 0.05)


def test_its_own_timeout_is_its_own_error(loop: BackgroundLoop) -> None:
    async def impatient() -> None:
        raise asyncio.TimeoutError("the server does not answer")

    with pytest.raises(asyncio.TimeoutError, match="does not answer"):
        loop.run(impatient(), LONG)


def test_one_that_cannot_be_ended_is_left_behind(
    loop: BackgroundLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENDING", 0.05)
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
        loop.run(stubborn(), 0.05)
    assert loop.run(echo(1), LONG) == 1, "others go on"
    loop._loop.call_soon_threadsafe(release.set)


def test_any_thread_may_cancel(loop: BackgroundLoop) -> None:
    endless = Endless()
    call = loop.start(endless())
    assert endless.begun.wait(LONG)
    assert not call.wait(0.01)
    canceller = threading.Thread(target=call.cancel)
    canceller.start()
    assert call.wait(LONG)
    canceller.join()
    assert endless.tidied.is_set()
    assert call.was_cancelled()
    with pytest.raises(CancelledError):
        call.result()
    call.cancel()


def test_one_that_was_cancelled_before_it_began_never_begins(loop: BackgroundLoop) -> None:
    free = threading.Event()
    loop._loop.call_soon_threadsafe(free.wait, LONG)
    endless = Endless()
    call = loop.start(endless())
    call.cancel()
    free.set()
    assert call.wait(LONG)
    assert call.was_cancelled()
    assert not endless.begun.is_set()


def test_an_interrupt_of_the_caller_ends_the_coroutine(
    loop: BackgroundLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupt(BaseException):
        pass

    def interrupted(call: object, seconds: float | None = None) -> bool:
        endless.begun.wait(LONG)
        raise Interrupt

    endless = Endless()
    with monkeypatch.context() as patched:
        patched.setattr(module.BackgroundCall, "wait", interrupted)
        with pytest.raises(Interrupt):
            loop.run(endless(), LONG)
    assert endless.tidied.wait(LONG)


def test_its_own_thread_is_not_made_to_wait_for_itself(loop: BackgroundLoop) -> None:
    async def nested() -> int:
        return loop.run(echo(1), LONG)

    with pytest.raises(RuntimeError, match="use await"):
        loop.run(nested(), LONG)


def test_close_ends_what_runs_in_order(loop: BackgroundLoop) -> None:
    endless = Endless()
    call = loop.start(endless())
    finished: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            finished.append("generator")

    async def begin() -> AsyncIterator[int]:
        held = numbers()
        await held.__anext__()
        return held

    held = loop.run(begin(), LONG)
    assert endless.begun.wait(LONG)
    loop.close()
    assert endless.tidied.is_set()
    assert call.was_cancelled()
    assert finished == ["generator"]
    assert not loop.alive
    loop.close()
    with pytest.raises(Unavailable, match="Connect again"):
        loop.run(echo(1), LONG)
    with pytest.raises(Unavailable, match="Connect again"):
        loop.start(echo(1))
    call.cancel()
    del held


@pytest.mark.parametrize("deadly", [SystemExit(3), KeyboardInterrupt()])
def test_one_that_dies_leaves_nobody_waiting(
    loop: BackgroundLoop, deadly: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENDING", 0.1)
    endless = Endless()
    call = loop.start(endless())

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    left = loop.start(stubborn())
    assert endless.begun.wait(LONG)

    async def die() -> None:
        raise deadly

    with pytest.raises(type(deadly)):
        loop.start(die()).result()
    assert call.wait(LONG)
    assert endless.tidied.is_set()
    with pytest.raises(Unavailable):
        left.result()
    assert not loop.alive


def test_one_that_dies_again_while_it_ends_ends_all_the_same(loop: BackgroundLoop) -> None:
    async def die_when_cancelled() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise SystemExit

    calls = [loop.start(die_when_cancelled()) for _ in range(3)]
    endless = Endless()
    last = loop.start(endless())
    assert endless.begun.wait(LONG)
    loop.close()
    assert last.wait(LONG)
    assert endless.tidied.is_set()
    assert all(call.wait(LONG) for call in calls)


def test_what_goes_wrong_where_nobody_waits_is_logged(
    loop: BackgroundLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def leave_one_behind() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)

    loop.run(leave_one_behind(), LONG)
    wait_until(lambda: "ZeroDivisionError" in caplog.text, "it to be told")


# the one of a process


def test_there_is_one_for_a_process_and_another_when_it_has_ended() -> None:
    first = background_loop()
    assert background_loop() is first
    first.close()
    second = background_loop()
    assert second is not first
    assert second.run(echo(1), LONG) == 1
    second.close()


def test_a_forked_child_is_never_made_to_use_its_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = background_loop()
    monkeypatch.setattr("os.getpid", lambda: -5)
    assert not parents.alive
    with pytest.raises(Unavailable):
        parents.run(echo(1), LONG)
    parents.close()
    mine = background_loop()
    assert mine is not parents
    assert mine.run(echo(1), LONG) == 1
    mine.close()
    monkeypatch.undo()
    assert parents.alive
    assert parents.run(echo(1), LONG) == 1
    parents.close()


SCRIPT = """
import asyncio, os, sys, warnings
from fbcli.clients.background_loop import background_loop
warnings.simplefilter("ignore")

async def who():
    return os.getpid()

async def endless():
    try:
        await asyncio.sleep(3600)
    finally:
        print("tidied", flush=True)

assert background_loop().run(who(), 10) == os.getpid()
pid = os.fork()
if not pid:
    assert background_loop().run(who(), 10) == os.getpid()
    print("child", flush=True)
    sys.exit()
assert os.waitpid(pid, 0)[1] == 0
assert background_loop().run(who(), 10) == os.getpid()
background_loop().start(endless())
background_loop().run(who(), 10)
print("parent", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="only POSIX forks")
def test_it_survives_a_fork_on_both_sides_and_ends_with_the_process() -> None:
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=LONG, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["child", "parent", "tidied"]
    assert time.monotonic() - begun < LONG
