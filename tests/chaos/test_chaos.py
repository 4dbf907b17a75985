"""The installed `fb chaos`, with everybody killed at random: of 5,000 tasks none is lost, and what
ran twice was in flight at a kill."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.installed import FB, clean_environment
from tests.servers.redis import RedisServer, redis_cli

pytestmark = pytest.mark.slow

TASKS = 5000

LONGEST = 150.0
"""Seconds; it takes about 20."""


def run_chaos(folder: Path, url: str, *options: str) -> tuple[int, dict[str, Any], str]:
    """Run it; return exit code, figures, and what it said."""
    done = subprocess.run(
        [FB, "chaos", url, "--json", "--timeout", f"{LONGEST - 30}s", "-y", *options],
        cwd=folder,
        env=clean_environment(folder, TMPDIR=str(folder)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.timeout(LONGEST + 30)
@pytest.mark.parametrize(
    "group",
    [("--mode", "threads"), ("--mode", "asyncio", "--processes", "2")],
    ids=["threads", "asyncio"],
)
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_of_5000_tasks_none_is_lost(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str, group: tuple[str, ...]
) -> None:
    url = (
        f"sqlite:///{tmp_path}/queue.db"
        if kind == "sqlite"
        else request.getfixturevalue("redis_url")
    )
    options = ("--tasks", str(TASKS), "--task-time", "10ms..70ms", "--kill-every", "300ms", *group)
    code, found, said = run_chaos(tmp_path, url, *options)
    assert (code, found["lost"], found["sound"]) == (0, 0, True), (found, said)
    assert (found["confirmed"], found["ended"], found["left_in_queue"]) == (TASKS, TASKS - 25, 0)
    assert found["poison"] == {"confirmed": 25, "buried": 25, "missing": 0}
    assert (found["misplaced"], found["wrongly_executed"], found["worn_out"]) == (0, 0, 0), found
    assert found["duplicates"]["unexplained"] == 0, found
    assert found["kills"]["consumers"] >= 5, "there was chaos"
    assert found["kills"]["producers"] >= 1
    assert found["kills"]["ended_themselves"] == 0, said
    recovery = found["recovery"]
    assert recovery["calls"] == recovery["again"] > 0
    assert recovery["p50"] <= recovery["p99"] <= recovery["max"]


RESTART = ("--outage-every", "2s", "--tasks", "1500", "--task-time", "10ms..70ms")


def restart_command(server: RedisServer) -> tuple[str, str]:
    """The server closes the connection instead of an answer, and is back soon after."""
    ask = f"{redis_cli()} -p {server.port}"
    return "--restart-command", f"{ask} DEBUG RESTART; until {ask} PING; do sleep 0.05; done"


@pytest.mark.timeout(LONGEST + 30)
def test_a_redis_that_keeps_what_it_has_confirmed_loses_nothing_when_it_is_restarted(
    tmp_path: Path,
) -> None:
    with RedisServer(debug=True, appendonly=True) as server:
        code, found, said = run_chaos(tmp_path, server.url, *RESTART, *restart_command(server))
    assert (code, found["lost"]) == (0, 0), (found, said)
    assert found["outages"] >= 1
    assert found["outage_seconds"] > 0
    assert found["confirmed"] == 1500


@pytest.mark.timeout(LONGEST + 30)
def test_a_redis_that_keeps_nothing_is_found_out(tmp_path: Path) -> None:
    with RedisServer(debug=True) as server:
        code, found, said = run_chaos(
            tmp_path, server.url, *RESTART, *restart_command(server), "--patience", "8s"
        )
    assert (code, found["sound"]) == (1, False)
    assert found["outages"] >= 1
    assert found["lost"] > 0
    assert found["lost"] == found["confirmed"] - found["ended"] - found["poison"]["buried"]
    assert f"{found['lost']:,} of 1,500 tasks lost" in said
