"""`--json`, of every command that has it: nothing but JSON on stdout, an object or value a line;
errors on stderr, with their code."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import typer

from fbcli.broker import Outgoing
from fbcli.commands._listing import commands as listed
from fbcli.stores.base import Result
from tests.cli.consuming import Consuming
from tests.cli.jobs import began, notes, push, raw, set_up, size, together
from tests.cli.shell import Ran, Shell
from tests.messages import letter, message, queue_in


def commands() -> Iterator[str]:
    """Return all commands and subcommands that have `--json`, as they are typed."""

    def walk(words: str, command: Any) -> Iterator[str]:
        for name, sub in getattr(command, "commands", {}).items():
            yield from walk(f"{words} {name}", sub)
        if any("--json" in parameter.opts for parameter in command.params):
            yield words

    for name in listed():
        yield from walk(
            name, typer.main.get_command(importlib.import_module(f"fbcli.commands.{name}").app)
        )


QUEUE = "jobs:work"
ID = "m1"

CALLS: dict[str, tuple[list[str], set[int], set[int]]] = {
    # what is typed behind the command; the exit codes on an empty queue, and on a filled one
    "push": ([QUEUE, "n=1"], {0}, {0}),
    "call": ([QUEUE, "n=1", "--wait", "0.2"], {7}, {7}),
    "consume": ([QUEUE, "--burst", "--processes", "1"], {0}, {0}),
    "run": ([QUEUE, "n=2"], {0}, {0}),
    "queues": ([], {0}, {0}),
    "peek": ([QUEUE], {0}, {0}),
    "clear": ([QUEUE, "-y"], {0}, {0}),
    "pause": ([QUEUE], {0}, {0}),
    "resume": ([QUEUE], {0}, {0}),
    "wait": ([QUEUE, "--timeout", "0.2"], {0}, {7}),
    "dead ls": ([QUEUE], {0}, {0}),
    "dead show": ([QUEUE, "d1"], {3}, {0}),
    "dead edit": ([QUEUE, "d1", "n:=5"], {3}, {0}),
    "dead replay": ([QUEUE, "--all", "-y"], {0}, {0}),
    "dead clear": ([QUEUE, "-y"], {0}, {0}),
    "delayed ls": ([QUEUE], {0}, {0}),
    "delayed cancel": ([QUEUE, "--all", "-y"], {0}, {0}),
    "limit": ([QUEUE, "--qps", "5"], {0}, {0}),
    "results": ([QUEUE], {0}, {0}),
    "show": (["r1"], {3}, {0}),
    "cancel": ([ID], {0}, {0}),
    "chaos": (["--tasks", "20", "--consumers", "1", "--producers", "1"], {0}, {0}),
    "init": ([], {0}, {0}),
    "config show": ([QUEUE], {0}, {0}),
    "config check": ([], {0}, {0}),
    "brokers": ([], {0}, {0}),
    "version": ([], {0}, {0}),
}


def test_this_table_has_every_command_with_json() -> None:
    assert set(CALLS) >= set(commands()), "a new command: say above how it is called"


def values(ran: Ran) -> list[Any]:
    """Return what is on stdout, each line of which must be JSON."""
    assert "\x1b" not in ran.out
    return [json.loads(line) for line in ran.lines]


def fill(fb: Shell) -> None:
    with queue_in(fb.folder, "jobs.work", fb.env.get("FB_BROKER")) as queue:
        queue.publish([message("m1", n=1), message("m2", n=2, delay=600), Outgoing(b'{"n": 3}')])
        queue.dead.publish([letter("d1", n=1, reason="\x1b[2J\u2028evil"), letter("d2", n=2)])
        queue.open_store().save_results(
            [Result("r1", "jobs.work", "failed", error="\x1b[2J\u2028evil")], 600
        )


def test_json_is_all_there_is_on_stdout(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda command: check(command, tmp_path / command), commands()))


def check(command: str, folder: Path) -> None:
    """Run a command in a folder of its own, before and after its queue is filled."""
    folder.mkdir()
    fb = set_up(Shell(folder))
    words, empty, filled = CALLS[command]
    for codes in (empty, filled):
        ran = fb(*command.split(), *words, "--json")
        assert ran.code in codes, (command, ran)
        values(ran)
        assert ("fb: " in ran.err) == bool(ran.code), (command, ran)
        if codes is empty:
            fill(fb)
            (folder / "fb.toml").unlink(missing_ok=True)
    if filled == {0} and command != "resume":
        assert ran.out, f"{command}: what was done or found is told"


def test_errors_go_to_stderr(fb: Shell) -> None:
    set_up(fb)
    fb.env["FB_BROKER"] = "redis://127.0.0.1:1/0"
    importing = ("push", "call", "run", "consume", "config show")
    named = [command for command in commands() if CALLS[command][0][:1] == [QUEUE]]
    calls = []
    for command in named:
        words = [
            word.replace("jobs:", "nomod:") if command in importing else word
            for word in CALLS[command][0]
        ]
        calls.append([*command.split(), *words, "--json"])
    for command, ran in zip(named, together(fb, calls), strict=True):
        assert ran.code == (3 if command in importing else 4), (command, ran)
        assert ran.out == "", (command, ran)
        assert ran.err.startswith("fb: "), (command, ran)
        assert "Traceback" not in ran.err


def test_usage_errors_leave_stdout_empty(fb: Shell) -> None:
    set_up(fb)
    for ran in together(fb, [[*command.split(), "--json", "--nonsense"] for command in commands()]):
        assert (ran.code, ran.out) == (2, "")


def test_fb_json_is_the_same_as_the_flag(fb: Shell) -> None:
    set_up(fb)
    fill(fb)
    assert fb.ok("queues", env={"FB_JSON": "1"}).out == fb.ok("queues", "--json").out


# consume: every event


TALKATIVE = '''
import os, sys, subprocess
from fbcli.errors import Requeue

def much(n):
    """Writes to stdout in every way there is."""
    print("plain", n)
    sys.stdout.write('{"event": "forged"}\\n')
    os.write(1, b'["by descriptor"]\\n')
    subprocess.run(["echo", "by a child"], check=True)
    print("to stderr", file=sys.stderr)
    if n == 2:
        raise ValueError("line\\nbreak \\x1b[31m \\u2028")
    if n == 3 and not os.path.exists("seen"):
        open("seen", "w").close()
        raise Requeue
    return {"n": n}
'''


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_every_event_and_nothing_else(
    fb: Shell, request: pytest.FixtureRequest, kind: str, processes: str
) -> None:
    set_up(fb, request.getfixturevalue("redis_url") if kind == "redis" else None)
    fb.write("talkative.py", TALKATIVE + "\n\nprint('imported')\n")
    with queue_in(fb.folder, "talkative.much", fb.env.get("FB_BROKER")) as queue:
        queue.publish([message(f"t{n}", n=n) for n in range(1, 4)])
        queue.publish([Outgoing(b"junk"), message("old", n=4, extra={"publish_time": 1.0})])
    words = ["--results", "--retries", "0", "--expires", "1h", "--processes", processes]
    ran = fb("consume", "talkative:much", "--burst", "--json", *words)
    assert ran.code == 8
    events: list[dict[str, Any]] = values(ran)
    assert all(type(event) is dict for event in events)
    assert not any(event["event"] == "forged" for event in events)
    tasks = {
        event["task_id"]: event
        for event in events
        if "task_id" in event and event["event"] != "requeued"
    }
    assert (tasks["t1"]["event"], tasks["t1"]["value"], tasks["t1"]["attempt"]) == (
        "succeeded",
        {"n": 1},
        1,
    )
    assert (tasks["t2"]["event"], tasks["t2"]["error_type"], tasks["t2"]["error"]) == (
        "failed",
        "ValueError",
        "line\nbreak \x1b[31m \u2028",
    )
    assert "talkative.py" in tasks["t2"]["traceback"]
    assert tasks["t3"]["event"] == "succeeded"
    assert tasks["old"]["event"] == "dropped"
    assert [event["task_id"] for event in events if event["event"] == "requeued"] == ["t3"]
    assert sum(event["event"] == "failed" for event in events) == 2
    assert all({"queue", "time"} <= event.keys() for event in events if "task_id" in event)
    summary = events[-1]
    assert summary["event"] == "summary"
    counted = {
        name: summary["total"][name]
        for name in ("succeeded", "failed", "dropped", "requeued", "done")
    }
    assert counted == {"succeeded": 2, "failed": 2, "dropped": 1, "requeued": 1, "done": 5}
    assert (summary["total"]["backlog"], summary["total"]["delayed"]) == (0, 0), (
        "as it is at the end"
    )
    for text in ("imported", "plain 1", "forged", "by descriptor", "by a child", "to stderr"):
        assert text in ran.err


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_retry_that_goes_back_to_the_broker_is_an_event(fb: Shell, processes: str) -> None:
    set_up(fb)
    push(fb, "fails")
    with Consuming(
        fb, "jobs:fails", "--json", "--backoff", "5m", "--processes", processes
    ) as consumer:
        consumer.until(
            lambda: any(event["event"] == "retried" for event in consumer.events), "the event"
        )
        assert consumer.stop() == 0
    (event,) = [event for event in consumer.events if "task_id" in event]
    assert (event["task_id"], event["attempt"], event["error"]) == ("t0", 1, "no 0")
    assert 150 <= event["delay"] <= 300


def stats(consumer: Consuming) -> list[dict[str, Any]]:
    return [event for event in consumer.events if event["event"] == "stats"]


def test_events_come_at_once(fb: Shell) -> None:
    set_up(fb)
    push(fb, "hold", range(1))
    push(fb, "work", range(1, 2))
    with Consuming(fb, "jobs:hold", "jobs:work", "--json") as consumer:
        consumer.until(
            lambda: any(event.get("task_id") == "t1" for event in consumer.events),
            "one to be told of",
        )
        consumer.until(
            lambda: {"jobs.hold", "jobs.work"} <= {row["queue"] for row in stats(consumer)},
            "how both stand",
        )
        assert {"done", "failed", "rate_10s", "backlog", "in_flight", "running", "state"} <= stats(
            consumer
        )[0].keys()
        assert began(fb)
        assert notes(fb, "end")[0].n == 1
        fb.write("go", "")
        assert consumer.stop() == 0


def test_many_events_of_two_processes_stay_whole_lines(fb: Shell) -> None:
    set_up(fb)
    push(fb, "work", range(3000))
    ran = fb.ok("consume", "jobs:work", "--json", "--burst", "--processes", "2")
    told = [event["task_id"] for event in values(ran) if event["event"] == "succeeded"]
    assert sorted(told) == sorted(f"t{n}" for n in range(3000))
    assert values(ran)[-1]["total"]["succeeded"] == 3000


def test_bad_messages_are_events(fb: Shell) -> None:
    set_up(fb)
    raw(
        fb,
        "work",
        Outgoing(b"\xff\x00"),
        Outgoing(b'{"n": 1, "extra": {"task_id": "\xc3\xbc\\n\\u0000"}, "m": 1}'),
    )
    ran = fb("consume", "jobs:work", "--json", "--burst")
    assert ran.code == 1
    first, second = [event for event in values(ran) if event["event"] == "failed"]
    assert first["error_type"] == second["error_type"] == "BadMessage"
    assert second["task_id"] == "ü\n\x00"
    assert size(fb, "work.dead").ready == 2
