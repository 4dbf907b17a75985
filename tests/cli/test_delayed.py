"""`fb delayed`, as a user runs it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from fbcli.queues.queue import Queue
from tests.cli.shell import Shell
from tests.messages import message, queue_in


@pytest.fixture(params=["sqlite", "redis", "redis+list"])
def queue(request: pytest.FixtureRequest, fb: Shell) -> Iterator[Queue]:
    """The queue of `mymod:add` on a broker, which `fb` uses, too; the last one cannot delay by
    itself."""
    scheme = request.param
    url = (
        None
        if scheme == "sqlite"
        else request.getfixturevalue("redis_url").replace("redis:", f"{scheme}:")
    )
    if url:
        fb.env["FB_BROKER"] = url
    with queue_in(fb.folder, broker=url) as found:
        yield found


def test_a_queue_with_nothing_but_delayed_messages_is_listed(fb: Shell, queue: Queue) -> None:
    fb.ok("push", "mymod:add", "x=1", "--delay", "600")
    (row,) = fb.ok("queues", "--json").objects
    assert (row["queue"], row["ready"], row["delayed"]) == ("mymod.add", 0, 1)


def test_list_and_cancel(fb: Shell, queue: Queue) -> None:
    queue.publish([message(f"d{number}", delay=600 + 60 * number, x=number) for number in range(4)])
    headings, first, *_ = fb.ok("delayed", "ls", "mymod:add").lines
    assert re.split(r"\s{2,}", headings) == ["task id", "due", "arguments"]
    assert re.match(r"d0 .*\(in (9 min \d+ s|10 min)\) +x=0", first)
    objects = fb.ok("delayed", "ls", "mymod:add", "--json").objects
    assert [(each["task_id"], each["arguments"]) for each in objects] == [
        (f"d{n}", {"x": n}) for n in range(4)
    ]
    assert objects[0]["due"] < objects[1]["due"]
    assert fb.ok("delayed", "ls", "mymod:add", "-n", "1").err == "1 of 4 messages; -n shows more.\n"

    assert fb("delayed", "cancel", "mymod:add").code == 2
    assert fb("delayed", "cancel", "mymod:add", "d0", "--all").code == 2
    ran = fb("delayed", "cancel", "mymod:add", "d0")
    assert (ran.code, "Do it by: fb delayed cancel mymod:add d0 -y" in ran.err) == (6, True)
    assert (
        fb.ok("delayed", "cancel", "mymod:add", "d0", "-n").err
        == "Would cancel 1 delayed message of mymod.add.\n"
    )
    ran = fb("delayed", "cancel", "mymod:add", "d0", "dd", "-y", "--json")
    assert (ran.code, ran.json["cancelled"], "dd" in ran.err) == (8, 1, True)
    ran = fb("delayed", "cancel", "mymod:add", "dd1", "-y")
    assert (ran.code, "Did you mean 'd1'" in ran.err) == (3, True)
    ran = fb.at_terminal("delayed", "cancel", "mymod:add", "--all", keys="y\n")
    assert (ran.code, "Cancelled 3 delayed messages of mymod.add." in ran.out) == (0, True)
    assert queue.count_delayed() == 0
    assert fb.ok("delayed", "cancel", "mymod:add", "--all", "--json").json["cancelled"] == 0


def test_what_was_pushed_with_a_delay_is_there(fb: Shell, queue: Queue) -> None:
    task_id = fb.ok("push", "mymod:add", "x=1", "--delay", "10m").out.strip()
    assert [each["task_id"] for each in fb.ok("delayed", "ls", "mymod:add", "--json").objects] == [
        task_id
    ]


def test_none_says_what_to_type_next(fb: Shell, queue: Queue) -> None:
    queue.publish([message("a", x=1)])
    ran = fb.ok("delayed", "ls", "mymod.ad")
    assert ran.out == ""
    assert "mymod.ad has nothing that waits for its time. Did you mean 'mymod.add'?" in ran.err
