"""`fb dead`, as a user runs it."""

from __future__ import annotations

import re
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from fbcli.broker import Outgoing
from fbcli.queues.queue import Queue
from tests.cli.shell import Shell
from tests.messages import letter, queue_in
from tests.servers import wait_until


@pytest.fixture(params=["sqlite", "redis"])
def queue(request: pytest.FixtureRequest, fb: Shell) -> Iterator[Queue]:
    """The queue of `mymod:add` on a broker, which `fb` uses, too."""
    url = None if request.param == "sqlite" else request.getfixturevalue("redis_url")
    if url:
        fb.env["FB_BROKER"] = url
    with queue_in(fb.folder, broker=url) as found:
        yield found


def ids(fb: Shell) -> list[str]:
    return [
        each["task_id"]
        for each in fb.ok("dead", "ls", "mymod:add", "-n", "100000", "--json").objects
    ]


def test_from_a_failure_to_its_repair(fb: Shell, queue: Queue) -> None:
    """The whole way: a call fails for good, is looked at, corrected, replayed and done."""
    fb.write("mymod.py", "def add(x: int) -> int:\n    return 10 // x\n")
    fb.ok("push", "mymod:add", "x=0")
    assert fb("consume", "mymod:add", "--burst", "--retries", "1").code == 1
    headings, line = fb.ok("dead", "ls", "mymod:add").lines
    assert re.split(r"\s{2,}", headings) == [
        "task id",
        "died",
        "error",
        "reason",
        "attempts",
        "arguments",
    ]
    task_id, _, error, reason, attempts, arguments = re.split(r"\s{2,}", line)
    assert (error, attempts, arguments) == ("ZeroDivisionError", "2", "x=0")
    shown = fb.ok("dead", "show", "mymod:add", task_id).out
    for part in (task_id, reason, "x = 0", "traceback", "return 10 // x"):
        assert part in shown
    assert (
        fb.ok("dead", "show", "mymod:add", task_id, "--json").json["extra"]["dead"]["error_type"]
        == "ZeroDivisionError"
    )
    assert (
        "is back in the queue" in fb.ok("dead", "edit", "mymod:add", task_id, "x=5", "--replay").err
    )
    fb.ok("consume", "mymod:add", "--burst")
    fb.ok("wait", "mymod:add", "--timeout", "10")
    assert ids(fb) == []


def test_what_could_not_be_called_can_be_repaired(fb: Shell, queue: Queue) -> None:
    queue.publish([Outgoing(b'{"x": 1, "old": 2}'), Outgoing(b"junk")])
    assert fb("consume", "mymod:add", "--burst").code == 1
    wrong, junk = fb.ok("dead", "ls", "mymod:add", "--json").objects
    assert "takes no 'old'" in wrong["reason"]
    assert junk["arguments"] == {"raw": "junk"}
    fb.ok("dead", "edit", "mymod:add", wrong["task_id"], "--unset", "old", "--replay")
    fb.ok("dead", "edit", "mymod:add", junk["task_id"], "--unset", "raw", "x=1", "--replay")
    fb.ok("consume", "mymod:add", "--burst")
    assert ids(fb) == []


def test_none_says_what_to_type_next(fb: Shell, queue: Queue) -> None:
    queue.dead.publish([letter("a", x=1)])
    ran = fb.ok("dead", "ls", "mymod.ad")
    assert (ran.out, ran.err) == (
        "",
        "mymod.ad has no dead letters. Did you mean 'mymod.add'?\n  fb queues\n",
    )
    assert fb.ok("dead", "ls", "mymod.add.dead", "--json").json["task_id"] == "a"


def test_more_than_are_shown(fb: Shell, queue: Queue) -> None:
    queue.dead.publish([letter(f"d{number}", x=number) for number in range(25)])
    ran = fb.ok("dead", "ls", "mymod:add")
    assert (len(ran.lines), ran.err) == (21, "20 of 25 dead letters; -n shows more.\n")


def test_edit(fb: Shell, queue: Queue) -> None:
    queue.dead.publish([letter("a", x=1, y=2), letter("b", x=1)])
    ran = fb.ok("dead", "edit", "mymod:add", "a", "x=text", "y:=[1]", "--json")
    assert (ran.json["x"], ran.json["y"], ran.json["extra"]["task_id"]) == ("text", [1], "a")
    assert ids(fb) == ["b", "a"]
    assert fb("dead", "edit", "mymod:add", "c", "x=1").code == 3
    assert fb("dead", "edit", "mymod:add", "a", "nonsense").code == 2
    assert fb("dead", "edit", "mymod:add", "a", "x:={").code == 2
    ran = fb("dead", "edit", "mymod:add", "a")
    assert (ran.code, "no terminal" in ran.err) == (2, True)


def editor(fb: Shell, script: str) -> dict[str, str]:
    path = fb.write("editor.sh", f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {"EDITOR": str(path), "VISUAL": "", "TMPDIR": str(fb.folder)}


def test_edit_in_the_persons_editor(fb: Shell, queue: Queue) -> None:
    queue.dead.publish([letter("a", x=1)])
    ran = fb.at_terminal(
        "dead", "edit", "mymod:add", "a", env=editor(fb, """sed -i 's/"x": 1/"x": 7/' "$1" """)
    )
    assert (ran.code, "a was changed; `fb dead replay mymod.add a` runs it again." in ran.out) == (
        0,
        True,
    ), ran
    [changed] = fb.ok("dead", "ls", "mymod:add", "--json").objects
    assert (changed["arguments"], changed["reason"]) == ({"x": 7}, "boom")
    assert not list(fb.folder.glob("fb-edit-*"))


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("exit 0", "was left as it was"),
        ("exit 3", "ended with code 3; nothing was changed"),
        ("echo '{' > \"$1\"", "Nothing was changed; your text is in"),
    ],
)
def test_edit_that_comes_to_nothing(fb: Shell, script: str, sentence: str) -> None:
    with queue_in(fb.folder) as queue:
        queue.dead.publish([letter("a", x=1)])
        ran = fb.at_terminal("dead", "edit", "mymod:add", "a", env=editor(fb, script))
        assert (ran.code, sentence in ran.out) == (2, True), ran
        assert queue.dead.peek(2)[0].arguments == {"x": 1}
    kept = list(fb.folder.glob("fb-edit-*/message.json"))
    assert [path.read_text() for path in kept] == (["{\n"] if "your text" in sentence else [])


def test_no_such_editor(fb: Shell) -> None:
    with queue_in(fb.folder) as queue:
        queue.dead.publish([letter("a", x=1)])
    ran = fb.at_terminal(
        "dead", "edit", "mymod:add", "a", env={"EDITOR": "/no/such editor", "VISUAL": ""}
    )
    assert (ran.code, "set EDITOR" in ran.out) == (2, True)


def test_replay(fb: Shell, queue: Queue) -> None:
    queue.dead.publish([letter(f"d{number}", x=number) for number in range(5)])
    assert fb("dead", "replay", "mymod:add").code == 2
    assert fb("dead", "replay", "mymod:add", "d0", "--all").code == 2
    ran = fb("dead", "replay", "mymod:add", "--all")
    assert (ran.code, "Do it by: fb dead replay mymod:add --all -y" in ran.err) == (6, True)
    ran = fb.ok("dead", "replay", "mymod:add", "--all", "--dry-run", "--json")
    assert ran.json == {"queue": "mymod.add", "replayed": 5, "dry_run": True}
    assert fb.ok("dead", "replay", "mymod:add", "d3", "--json").json["replayed"] == 1
    ran = fb("dead", "replay", "mymod:add", "d1", "d7", "--json")
    assert (ran.code, ran.json["replayed"], "d7" in ran.err) == (8, 1, True)
    ran = fb("dead", "replay", "mymod:add", "d7")
    assert (ran.code, "no dead letter of task 'd7'" in ran.err) == (3, True)
    assert (
        fb.ok("dead", "replay", "mymod:add", "--limit", "1", "-y", "--json").json["replayed"] == 1
    )
    assert ids(fb) == ["d2", "d4"]
    ran = fb.at_terminal("dead", "replay", "mymod:add", "--all", keys="y\n")
    assert (ran.code, "2 dead letters back in mymod.add." in ran.out) == (0, True)
    assert [each.task_id for each in queue.peek(10)] == ["d3", "d1", "d0", "d2", "d4"]
    assert (
        fb.ok("dead", "replay", "mymod:add", "--all").err
        == "mymod.add has no dead letters.\n  fb queues\n"
    )


def test_clear(fb: Shell, queue: Queue) -> None:
    queue.dead.publish([letter(f"d{number}", x=number) for number in range(4)])
    ran = fb("dead", "clear", "mymod:add", "d0")
    assert (ran.code, "Do it by: fb dead clear mymod:add d0 -y" in ran.err) == (6, True)
    assert fb.ok("dead", "clear", "mymod:add", "d0", "-n", "--json").json["removed"] == 1
    ran = fb("dead", "clear", "mymod:add", "d0", "d7", "-y", "--json")
    assert (ran.code, ran.json["removed"], "d7" in ran.err) == (8, 1, True)
    assert fb("dead", "clear", "mymod:add", "d7", "-y").code == 3
    assert ids(fb) == ["d1", "d2", "d3"]
    ran = fb.at_terminal("dead", "clear", "mymod:add", keys="y\n")
    assert (ran.code, "Removed 3 dead letters of mymod.add." in ran.out) == (0, True)
    assert fb.ok("dead", "clear", "mymod:add", "-y", "--json").json["removed"] == 0


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_replay_that_is_killed_loses_nothing(
    fb: Shell, queue: Queue, kill: signal.Signals
) -> None:
    """Killed after some batches were moved: every letter is in the queue or among the dead, at once
    or when the lease has run out."""
    count = 20_000
    queue.dead.publish([letter(f"d{number}", x=number) for number in range(count)])
    replay = fb.start("dead", "replay", "mymod:add", "--all", "-y")
    wait_until(lambda: queue.known_size().ready > 0, "the first batch to be moved")
    replay.send_signal(kill)
    replay.wait(30)
    moved = queue.known_size().ready
    assert 0 < moved < count, "killed in the middle"

    def all_there() -> bool:
        queue.dead.reclaim()
        return queue.known_size().ready + queue.dead.known_size().ready >= count

    wait_until(all_there, "the lease to run out", timeout=30)
    there = {each.task_id for each in queue.peek(count * 2)} | {
        each.task_id for each in queue.dead.peek(count * 2)
    }
    assert len(there) == count


def test_letters_in_other_hands_are_told(fb: Shell, queue: Queue) -> None:
    queue.dead.publish([letter(f"d{number}", x=number) for number in range(3)])
    inbox = queue.broker.open(queue.dead.name, consumer_id="other", prefetch=2, lease=60)
    assert len(inbox.fetch(2, 1.0)) == 2
    ran = fb.ok("dead", "ls", "mymod:add")
    assert (len(ran.lines), "2 more dead letters held by another `fb dead`" in ran.err) == (2, True)
    inbox.close()
    assert ids(fb) == ["d0", "d1", "d2"]


def test_help_of_the_group(fb: Shell, tmp_path: Path) -> None:
    ran = fb("dead")
    assert ran.code == 2
    for name in ("ls", "show", "edit", "replay", "clear"):
        assert f" {name} " in ran.out + ran.err
    assert "Did you mean 'replay'?" in fb("dead", "repay").err
