"""`fb cancel`, as a user runs it."""

from __future__ import annotations

import subprocess

import pytest

from fbcli.stores.base import Result
from tests.cli.consuming import consuming
from tests.cli.shell import Shell
from tests.installed import FB
from tests.messages import settings_in
from tests.servers import wait_until

MODULE = '''\
"""Calls that last."""

import asyncio
import time

from fbcli import TaskCancelled, current


def note(text):
    with open("notes", "a") as file:
        file.write(text + "\\n")


def lasting(name="a"):
    note(f"{name} begins")
    try:
        for _ in range(6000):
            time.sleep(0.01)
    except TaskCancelled:
        note(f"{name} was cancelled")
        raise
    note(f"{name} ends")


async def waiting(name="a"):
    note(f"{name} begins")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        note(f"{name} was cancelled")
        raise


def deaf(name="a"):
    note(f"{name} begins")
    time.sleep(8)


def quick(name="a"):
    note(f"{name} begins")
'''


@pytest.fixture(params=["sqlite", "redis"])
def shell(request: pytest.FixtureRequest, fb: Shell) -> Shell:
    """`fb` with `jobs.py`, on a broker."""
    if request.param == "redis":
        fb.env["FB_BROKER"] = request.getfixturevalue("redis_url")
    fb.write("jobs.py", MODULE)
    return fb


def notes(fb: Shell) -> list[str]:
    file = fb.folder / "notes"
    return file.read_text().splitlines() if file.exists() else []


def push(fb: Shell, address: str, *words: str) -> str:
    return fb.ok("push", address, *words).out.strip()


def save(fb: Shell, *results: Result) -> None:
    with settings_in(fb.folder, fb.env.get("FB_BROKER")) as settings:
        settings.open_store().save_results(results, 60)


def test_a_queued_task_does_not_start(shell: Shell) -> None:
    first, second = push(shell, "jobs:quick", "name=a"), push(shell, "jobs:quick", "name=b")
    ran = shell.ok("cancel", first)
    assert (ran.out, ran.err) == (f"{first}  will not start\n", "")
    shell.ok("consume", "jobs:quick", "--burst")
    assert notes(shell) == ["b begins"]
    assert shell.ok("show", first, "--json").json["state"] == "cancelled"
    assert second


@pytest.mark.parametrize("function", ["lasting", "waiting"])
def test_a_running_task_is_interrupted(shell: Shell, function: str) -> None:
    consuming(shell, f"jobs:{function}")
    task_id = push(shell, f"jobs:{function}")
    queued = push(shell, f"jobs:{function}", "--delay", "1h")
    wait_until(lambda: notes(shell) == ["a begins"], "the call to begin")
    ran = shell.ok("cancel", task_id, queued, "--json")
    assert ran.objects == [
        {"task_id": task_id, "became": "interrupted", "state": "cancelled"},
        {"task_id": queued, "became": "will_not_start", "state": "queued"},
    ]
    assert notes(shell) == ["a begins", "a was cancelled"]
    shown = shell.ok("show", task_id).out
    assert "state     cancelled" in shown
    shell.ok("wait", f"jobs:{function}", "--timeout", "20")
    assert not shell.ok("dead", "ls", f"jobs:{function}", "--json").out, "it is nobody's failure"


def test_a_call_that_cannot_be_interrupted_is_left_behind(shell: Shell) -> None:
    consuming(shell, "jobs:deaf")
    task_id = push(shell, "jobs:deaf")
    wait_until(lambda: notes(shell) == ["a begins"], "the call to begin")
    ran = shell.ok("cancel", task_id, "--no-wait")
    assert ran.out in (f"{task_id}  is asked to be cancelled\n",)
    wait_until(
        lambda: shell("show", task_id, "--json").out.find('"state":"cancelled"') > 0,
        "the call to be given up",
        20,
    )


def test_what_had_ended_before(shell: Shell) -> None:
    save(shell, Result("a", "q", "succeeded", 1), Result("b", "q", "failed"))
    ran = shell("cancel", "a", "b")
    assert (ran.code, ran.lines) == (
        1,
        ["a  had ended before: succeeded", "b  had ended before: failed"],
    )
    assert ran.err == "fb: All 2 tasks had ended before.\n"
    ran = shell("cancel", "a", "c")
    assert (ran.code, ran.lines) == (8, ["a  had ended before: succeeded", "c  will not start"])
    assert ran.err == "fb: 1 of 2 tasks had ended before.\n"
    ran = shell("cancel", "a", "--json")
    assert (ran.code, ran.json) == (
        1,
        {"task_id": "a", "became": "ended_before", "state": "succeeded"},
    )
    assert ran.err == "fb: Nothing was cancelled: it had ended before.\n"


def test_ids_from_a_pipe(fb: Shell) -> None:
    fb.ok("push", "mymod:add", "x={{Count}}", "--count", "3")
    ids = [each["extra"]["task_id"] for each in fb.ok("peek", "mymod:add", "--json").objects]
    ran = fb.ok("cancel", "-", input="\n".join(["", *ids[:2], ""]))
    assert ran.lines == [f"{task_id}  will not start" for task_id in ids[:2]]
    fb.ok("consume", "mymod:add", "--burst", "--results")
    states = {each["task_id"]: each["state"] for each in fb.ok("results", "--json").objects}
    assert states == {ids[0]: "cancelled", ids[1]: "cancelled", ids[2]: "succeeded"}
    ran = fb("cancel", "-")
    assert (ran.code, "There is no task id to cancel." in ran.err) == (2, True)
    assert (
        subprocess.run([FB, "cancel"], cwd=fb.folder, env=fb.env, capture_output=True).returncode
        == 2
    )


def test_hostile_ids_cannot_steer_the_terminal(fb: Shell) -> None:
    assert "\x1b" not in fb.ok("cancel", "\x1b[2J").out
    assert "\x1b" not in fb.ok("show", "\x1b[2J").out
    assert "\x1b" not in fb("show", "\x1b[31m").err


def test_a_store_out_of_reach(fb: Shell) -> None:
    ran = fb("cancel", "a", env={"FB_BROKER": "redis://127.0.0.1:1/0"})
    assert (ran.code, ran.out) == (4, "")
    assert ran.err.startswith("fb: ")
