"""Stopping as a truth table: signal × phase × pool. For each: what was carried out, what is back in
the queue, leases left, processes registered or alive, and the exit code. The table is `EXPECTED`;
how the signals are given is `SIGNALS`.
"""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from fbcli.broker import Size
from fbcli.chaos.processes import descendants
from tests.cli.consuming import Consuming
from tests.cli.jobs import began, notes, set_up
from tests.cli.shell import Shell
from tests.installed import PATIENCE
from tests.messages import settings_in
from tests.servers import needs, wait_until

JOBS = '''


def brief(n: int = 0) -> None:
    """Ends soon after the signal, well within the drain time."""
    note("begin", n)
    while not os.path.exists("stopping"):
        time.sleep(0.01)
    time.sleep(0.2)
    note("end", n)


async def abrief(n: int = 0) -> None:
    note("begin", n)
    while not os.path.exists("stopping"):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    note("end", n)


def blocked(n: int = 0) -> None:
    """Is in one call that nothing interrupts."""
    note("begin", n)
    threading.Event().wait(60)


async def ablocked(n: int = 0) -> None:
    """Blocks the event loop, as no coroutine should."""
    note("begin", n)
    time.sleep(60)
'''

SIGNALS = {
    "TERM": (signal.SIGTERM,),
    "INT": (signal.SIGINT,),
    "TERM TERM": (signal.SIGTERM, signal.SIGTERM),
    "QUIT": (signal.SIGQUIT,),
    "TSTP TERM": (signal.SIGTSTP, signal.SIGTERM),
}

CODE = {"TERM": 143, "INT": 130, "TERM TERM": 143, "QUIT": 143, "TSTP TERM": 143}
"""When something goes back unfinished; else 0."""

PHASES = ("idle", "running", "over the drain limit", "blocked")


class Outcome(NamedTuple):
    """One row of the table."""

    finished: int
    """Calls of two that end."""
    back: int
    """Messages in the queue afterwards."""
    code: int


def expected(signals: str, phase: str, pool: str) -> Outcome:
    """Return the row: the first signal drains, the second stops; what is unfinished goes back, and
    so does what never started."""
    if phase == "idle":
        return Outcome(0, 0, 0)
    if phase == "running" and signals not in ("TERM TERM", "QUIT"):
        return Outcome(1, 1, 0) if pool == "solo" else Outcome(2, 0, 0)
    return Outcome(0, 2, CODE[signals])


FUNCTIONS = {
    "idle": ("brief", "abrief"),
    "running": ("brief", "abrief"),
    "over the drain limit": ("hold", "ahold"),
    "blocked": ("blocked", "ablocked"),
}

POOLS = ("threads", "asyncio", "solo", "process", "gevent", "eventlet")


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("pool", POOLS)
def test_every_signal_in_this_phase_of_this_pool(
    tmp_path: Path, redis_url: str, pool: str, phase: str
) -> None:
    if pool == "eventlet":
        needs("eventlet")
    url = redis_url if pool in ("threads", "process") else None
    with ThreadPoolExecutor(3) as side_by_side:
        rows = list(
            side_by_side.map(
                lambda signals: (signals, row(tmp_path, url, pool, phase, signals)), SIGNALS
            )
        )
    assert dict(rows) == {signals: expected(signals, phase, pool) for signals in SIGNALS}


def row(folder: Path, url: str | None, pool: str, phase: str, signals: str) -> Outcome:
    """Run one consumer through it, and return what came of it."""
    home = folder / signals.replace(" ", "-")
    home.mkdir()
    shell = Shell(home)
    try:
        set_up(shell, url)
        with (home / "jobs.py").open("a") as module:
            module.write(JOBS)
        function = FUNCTIONS[phase][pool == "asyncio"]
        queue = f"stopping.{signals}.{phase}.{pool}".replace(" ", "-")
        (home / "fb.toml").write_text(f'[tasks."jobs:{function}"]\nqueue = "{queue}"\n')
        if phase != "idle":
            push_to(shell, queue)
        return _stopped(shell, queue, function, pool, phase, signals)
    finally:
        shell.close()


def push_to(shell: Shell, queue: str) -> None:
    for n in range(2):
        shell.ok("push", "--queue", queue, f"n:={n}")


def _stopped(
    shell: Shell, queue: str, function: str, pool: str, phase: str, signals: str
) -> Outcome:
    drain = "300ms" if phase in ("over the drain limit", "blocked") else "20s"
    words = ("--mode", pool, "--drain", drain, *(() if pool == "solo" else ("--concurrency", "2")))
    with Consuming(shell, f"jobs:{function}", *words) as consumer:
        consumer.until(lambda: consumer.says(f"consuming jobs:{function}"), "it to be up")
        running = 0 if phase == "idle" else 1 if pool == "solo" or function == "ablocked" else 2
        consumer.until(lambda: len(began(shell)) == running, "its calls to run")
        family = descendants(consumer.process.pid)
        consumer.send(SIGNALS[signals][0])
        if len(SIGNALS[signals]) > 1:
            said = "quiet" if signals.startswith("TSTP") else "the same signal again stops now"
            consumer.until(
                lambda: consumer.says(said) or consumer.process.poll() is not None,
                "it to have heard",
            )
            if consumer.process.poll() is None:
                consumer.send(SIGNALS[signals][1])
        if signals not in ("TERM TERM", "QUIT"):
            shell.write("stopping", "")
        code = consumer.process.wait(PATIENCE)
        wait_until(
            lambda: not any(_alive(pid) for pid in family), f"{signals}: child processes to be gone"
        )
    left = _size(shell, queue)
    assert left.in_flight == 0, f"{signals}: no lease is left"
    assert _registered(shell, queue) == 0, f"{signals}: no consumer is registered any more"
    assert "Traceback" not in consumer.err, consumer.err
    return Outcome(len(notes(shell, "end")), left.ready + (left.delayed or 0), code)


def _size(shell: Shell, queue: str) -> Size:
    with settings_in(shell.folder, shell.env.get("FB_BROKER")) as settings:
        found = settings.open_broker().size(queue)
        assert found is not None
        return found


def _registered(shell: Shell, queue: str) -> int:
    with settings_in(shell.folder, shell.env.get("FB_BROKER")) as settings:
        return sum(queue == each.queue for each in settings.open_store().consumers())


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z" and os.path.exists(f"/proc/{pid}")
