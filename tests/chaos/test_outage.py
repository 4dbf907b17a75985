"""The broker goes away in the middle of the work and comes back: consuming resumes by itself, and
nothing is lost."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.fleet import Fleet, address
from tests.servers import RequirementMissing, wait_until
from tests.servers.redis import RedisServer

pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis that keeps what it has confirmed, also when it is killed."""
    with RedisServer(appendonly=True) as server:
        yield server


@pytest.fixture
def fleet(tmp_path: Path, server: RedisServer) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, server.url)
    yield fleet
    fleet.end()


@pytest.mark.parametrize("function", ["work", "awork"])
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_redis_stopped_and_started_again(
    fleet: Fleet, server: RedisServer, function: str, how: str
) -> None:
    fleet.push(function, range(600))
    consumer = fleet.consume(function, "--concurrency", "4", "--heartbeat", "0.5", "--results")
    for _ in range(2):
        fleet.wait_for(len(fleet.ended()) + 50)
        (server.stop if how == "stop" else server.kill)()
        wait_until(
            lambda: "Trying again until it works" in fleet.log_text(), "the consumer to notice"
        )
        server.start()
    fleet.wait_for(600)
    wait_until(lambda: sum(fleet.size().values()) == 0, "everything to be settled")
    assert consumer.poll() is None
    assert "Back to work" in fleet.log_text()
    assert fleet.ended() == set(range(600))


def test_client_pause(fleet: Fleet, server: RedisServer) -> None:
    fleet.push("work", range(400))
    fleet.consume("work", "--concurrency", "4", "--heartbeat", "1")
    fleet.wait_for(30)
    server.ask("CLIENT PAUSE 1500 ALL")
    fleet.wait_for(400)
    calls = fleet.calls()
    assert set(calls) == set(range(400))
    assert all(len(done) == 1 for done in calls.values()), (
        "1.5 s without an answer is no reason to run anything twice"
    )
    wait_until(lambda: sum(fleet.size().values()) == 0, "everything to be settled")


def test_a_push_while_redis_is_away_fails_at_once_and_says_so(
    fleet: Fleet, server: RedisServer
) -> None:
    server.stop()
    begun = time.monotonic()
    with pytest.raises(AssertionError, match="cannot be reached"):
        fleet.fb("push", address("work"), "number=1")
    assert time.monotonic() - begun < 30


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount() -> None:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RequirementMissing(
                f"A small file system cannot be mounted here (it takes root): {done.stderr.strip()}"
            )

    mount()
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Callable[[], None]:
    """Use up all space; return what frees it again."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            try:
                while file.write(b"x" * size) == size:
                    continue
            except OSError:
                continue
    return lambda: os.unlink(filler)


def push_large(fleet: Fleet) -> None:
    """Push more than a small disk holds."""
    for _ in range(10):
        fleet.fb("push", "--queue", "large", "text=@large.txt")


def test_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    fleet = Fleet(tmp_path, f"sqlite:///{small_disk}/queue.db")
    try:
        fleet.push("work", range(300))
        fleet.consume("work", "--concurrency", "4", "--heartbeat", "0.5")
        fleet.wait_for(30)
        free = fill(small_disk)
        (tmp_path / "large.txt").write_text("x" * 3_500_000)
        with pytest.raises(AssertionError, match=r"(?i)full"):
            push_large(fleet)
        wait_until(
            lambda: "Trying again until it works" in fleet.log_text(), "the consumer to notice"
        )
        free()
        fleet.wait_for(300)
        wait_until(lambda: sum(fleet.size().values()) == 0, "everything to be settled")
        assert fleet.ended() == set(range(300)), "what was confirmed is not lost"
        fleet.push("work", range(300, 310))
        fleet.wait_for(310)
    finally:
        fleet.end()


def test_a_read_only_file(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, f"sqlite:///{tmp_path}/queue.db")
    fleet.push("work", range(3))
    queue = tmp_path / "queue.db"
    if os.geteuid() == 0:
        done = subprocess.run(["chattr", "+i", str(queue)], capture_output=True)
        if done.returncode:
            pytest.skip(
                "root may write to everything here, and chattr does not work on this file system"
            )
    else:
        queue.chmod(0o444)
    try:
        with pytest.raises(
            AssertionError, match=r"(?i)read-only|readonly|not permitted|cannot be written"
        ):
            fleet.push("work", range(3, 6))
    finally:
        if os.geteuid() == 0:
            subprocess.run(["chattr", "-i", str(queue)], check=True)
        else:
            queue.chmod(0o644)
    assert fleet.size()["ready"] == 3
