"""A consumer holds no more memory after 200,000 tasks than after 50,000: it may run for months."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from fbcli.broker import Broker, Outgoing
from fbcli.broker_registry import open_broker
from fbcli.chaos.processes import kill_child
from fbcli.platform import system
from tests.installed import clean_environment
from tests.servers import wait_until

MODULE = '''
def nothing(x):
    """The least that can be done."""


async def anothing(x):
    """The same as a coroutine."""


kept = []


def leak(x):
    """Lose 50 bytes."""
    kept.append(bytes(17))
'''

WARM, MORE = 50_000, 150_000
"""Tasks before the first look, and from there to the second."""

GROWTH = 4_000_000
"""Bytes by which a consumer may have grown between them. Measured on Linux: below 0.7 MB; a leak of
50 bytes a task makes 8 MB."""

BATCH = 5000


@dataclass
class Consumption:
    """`fb consume` of one function of the module."""

    function: str
    process: subprocess.Popen[bytes]
    broker: Broker

    def after(self, count: int) -> int:
        """Return how many bytes it holds when it has carried out so many more tasks."""
        queue = f"trivial.{self.function}"
        for start in range(0, count, BATCH):
            self.broker.publish(queue, [Outgoing(b'{"x": 1}')] * min(BATCH, count - start))
        wait_until(lambda: self._done(queue), f"{count} tasks to be done", timeout=60)
        held = system.resident_bytes(self.process.pid)
        assert held is not None
        return held

    def _done(self, queue: str) -> bool:
        assert self.process.poll() is None, "it has ended"
        size = self.broker.size(queue)
        assert size is not None
        return not size.ready and not size.in_flight


@pytest.fixture(params=["sqlite", "redis"])
def consumption(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Consumption]:
    if not Path("/proc/self/statm").exists():
        pytest.skip("there is no /proc to read another process's memory from")
    function, *options = request.getfixturevalue("command")
    url = (
        f"sqlite:///{tmp_path}/queue.db"
        if request.param == "sqlite"
        else request.getfixturevalue("redis_url")
    )
    (tmp_path / "trivial.py").write_text(MODULE)
    with closing(open_broker(url)) as broker, open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "fbcli",
                "consume",
                f"trivial:{function}",
                "--log-level",
                "WARNING",
                *options,
            ],
            cwd=tmp_path,
            env=clean_environment(tmp_path, FB_BROKER=url),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield Consumption(function, process, broker)
        finally:
            kill_child(process)


@pytest.mark.parametrize(
    "command", [("nothing",), ("anothing", "--mode", "asyncio")], ids=["threads", "asyncio"]
)
def test_memory_is_flat(command: tuple[str, ...], consumption: Consumption) -> None:
    before = consumption.after(WARM)
    assert consumption.after(MORE) - before < GROWTH


@pytest.mark.parametrize("command", [("leak",)])
def test_a_leak_of_fifty_bytes_a_task_would_be_seen(
    command: tuple[str, ...], consumption: Consumption
) -> None:
    before = consumption.after(WARM)
    assert consumption.after(MORE) - before > GROWTH
