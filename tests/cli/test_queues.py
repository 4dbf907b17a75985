"""`fb queues`, `peek`, `clear`, `pause`, `resume` and `wait`, as a user runs them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fbcli.broker import Outgoing
from fbcli.queues.queue import Queue
from tests.cli.shell import Shell
from tests.messages import letter, message, queue_in
from tests.servers import wait_until

UNREACHABLE = {"FB_BROKER": "redis://127.0.0.1:1/0"}


@pytest.fixture(params=["sqlite", "redis"])
def queue(request: pytest.FixtureRequest, fb: Shell) -> Iterator[Queue]:
    """The queue of `mymod:add` on a broker, which `fb` uses, too."""
    url = None if request.param == "sqlite" else request.getfixturevalue("redis_url")
    if url:
        fb.env["FB_BROKER"] = url
    with queue_in(fb.folder, broker=url) as found:
        yield found


# queues


def test_queues_and_how_much_they_hold(fb: Shell, queue: Queue) -> None:
    queue.publish([message("a", x=1), message("b", x=2), message("c", delay=600, x=3)])
    queue.dead.publish([letter("d", x=1)])
    fb.ok("pause", "mymod:add", "--for", "10m")
    fb.ok("pause", "other")
    headings, mine, other = fb.ok("queues").lines
    assert re.split(r"\s{2,}", headings) == [
        "queue",
        "ready",
        "in flight",
        "delayed",
        "dead",
        "consumers",
        "per second",
        "paused",
        "held by",
    ]
    assert re.split(r"\s+", mine)[:7] == ["mymod.add", "2", "0", "1", "1", "0", "0"]
    assert re.search(r"for (10|9) min", mine)
    assert other.endswith("yes")
    first, second = fb.ok("queues", "--json").objects
    assert 0 < first.pop("resumes_in") <= 600
    assert first == {
        "queue": "mymod.add",
        "ready": 2,
        "in_flight": 0,
        "delayed": 1,
        "dead": 1,
        "paused": True,
        "consumers": 0,
        "per_second": 0.0,
        "held": [],
    }
    assert (second["queue"], second["paused"], second["resumes_in"]) == ("other", True, None)
    assert [row["queue"] for row in fb.ok("queues", "mymod:add", "more", "--json").objects] == [
        "more",
        "mymod.add",
    ]


def test_no_queue_says_what_to_type_next(fb: Shell) -> None:
    ran = fb.ok("queues")
    assert ran.out == ""
    assert (
        ran.err == "No queue holds anything.\n  fb push mymod:task x=1\n  fb consume mymod:task\n"
    )
    assert fb.ok("queues", "--json") == type(ran)(0, "", "")


def test_configured_queues(fb: Shell) -> None:
    fb.write("fb.toml", '[tasks."mymod:add"]\nqueue = "sums"\n')
    assert [row["queue"] for row in fb.ok("queues", "--all", "--json").objects] == ["sums"]


def test_a_table_at_a_terminal(fb: Shell, queue: Queue) -> None:
    queue.publish([message(f"m{number}", x=1) for number in range(1200)])
    ran = fb.at_terminal("queues")
    assert ran.code == 0
    assert "1,200" in ran.out


# peek


def test_peek_shows_the_next_messages_and_takes_none(fb: Shell, queue: Queue) -> None:
    queue.publish([message(f"m{number}", x=number, y="two") for number in range(12)])
    lines = fb.ok("peek", "mymod:add").lines
    assert len(lines) == 11
    assert re.match(r"m0 .*ago +x=0 y=\"two\"", lines[1])
    assert [each["x"] for each in fb.ok("peek", "mymod.add", "-n", "2", "--json").objects] == [0, 1]
    assert queue.known_size().ready == 12


def test_peek_prints_the_messages_themselves(fb: Shell, queue: Queue) -> None:
    queue.publish(
        [
            Outgoing(b'{"x": 12345678901234567890123,\n "extra": {"retries": 2}}'),
            Outgoing(b"junk \xff"),
        ]
    )
    assert fb.ok("peek", "mymod:add", "--json").out == (
        '{"x":12345678901234567890123,"extra":{"retries":2}}\n{"raw":"junk \\\\xff","extra":{}}\n'
    )
    shown = fb.ok("peek", "mymod:add").out
    assert "retries=2" in shown
    assert "not a message: junk \\xff" in shown


def test_hostile_text_cannot_steer_the_terminal(fb: Shell, queue: Queue) -> None:
    evil = "\x1b[2J\x9b31m\u202e[bold]\r\n"
    arguments: dict[str, Any] = {evil: evil}
    queue.publish([message(evil, extra={evil: evil}, **arguments)])
    queue.dead.publish(
        [letter(evil, reason=evil, **arguments), letter("id", reason=evil, **arguments)]
    )
    for words in (
        ["peek", "mymod:add"],
        ["dead", "ls", "mymod:add"],
        ["dead", "show", "mymod:add", "id"],
        ["queues"],
    ):
        for shown in (fb.ok(*words).out, fb.ok(*words, "--json").out):
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown), words
        drawn = fb.at_terminal(*words).out
        assert not re.search("\x1b\\[2J|\x9b|\u202e", drawn), words
    assert fb.ok("peek", "mymod:add", "--json").objects[0][evil] == evil


def test_nothing_to_peek_at_gives_a_hint(fb: Shell, queue: Queue) -> None:
    queue.publish([message("a", x=1)])
    ran = fb.ok("peek", "mymod.ad")
    assert (ran.out, ran.err) == (
        "",
        "mymod.ad has nothing ready. Did you mean 'mymod.add'?\n  fb queues\n",
    )


# clear


def test_clear_asks_and_does_it_when_told(fb: Shell, queue: Queue) -> None:
    queue.publish([message("a", x=1), message("b", x=2), message("c", delay=600, x=3)])
    ran = fb("clear", "mymod:add")
    assert (ran.code, ran.out) == (6, "")
    assert "Do it by: fb clear mymod:add -y" in ran.err
    assert fb("clear", "mymod:add", "--no-input").code == 6
    assert fb.ok("clear", "mymod:add", "--dry-run").err == "Would remove 3 messages of mymod.add.\n"
    assert fb.ok("clear", "mymod:add", "-n", "--json").json == {
        "queue": "mymod.add",
        "removed": 3,
        "dry_run": True,
    }
    assert queue.known_size().ready == 2
    ran = fb.at_terminal("clear", "mymod:add", keys="n\n")
    assert (ran.code, "Remove 3 messages of mymod.add? [y/N]" in ran.out) == (6, True)
    assert queue.known_size().ready == 2
    assert fb.ok("clear", "mymod:add", "-y", "--json").json == {
        "queue": "mymod.add",
        "removed": 3,
        "dry_run": False,
    }
    assert (queue.known_size().ready, queue.known_size().delayed) == (0, 0)
    assert fb.ok("clear", "mymod:add").err == "mymod.add is empty.\n  fb queues\n"


def test_clear_at_a_terminal(fb: Shell, queue: Queue) -> None:
    queue.publish([message("a", x=1)])
    queue.dead.publish([letter("d", x=1)])
    ran = fb.at_terminal("clear", "mymod:add", keys="y\n")
    assert (ran.code, "Removed 1 message of mymod.add." in ran.out) == (0, True)
    assert queue.dead.known_size().ready == 1


# pause and resume


def test_pause_and_resume(fb: Shell, queue: Queue) -> None:
    queue.publish([message("a", x=1)])
    assert fb.ok("pause", "mymod:add", "--for", "90s", "--json").json == {
        "queue": "mymod.add",
        "paused": True,
        "resumes_in": 90.0,
    }
    assert fb.ok("pause", "mymod.ad").err == (
        "mymod.ad is paused; `fb resume mymod.ad` ends that. Did you mean 'mymod.add'?\n"
    )
    assert fb.ok("resume", "mymod:add", "mymod.ad").err == "mymod.add goes on.\nmymod.ad goes on.\n"
    assert fb.ok("resume", "mymod:add", "--json").json == {
        "queue": "mymod.add",
        "paused": False,
        "was_paused": False,
    }
    for wrong in ("soon", "-5", "1e99", "nan"):
        ran = fb("pause", "mymod:add", f"--for={wrong}")
        assert (ran.code, "--for" in ran.err) == (2, True), wrong


def test_a_paused_queue_is_not_consumed_until_it_is_resumed(fb: Shell, queue: Queue) -> None:
    consumer = fb.start("consume", "mymod:add")
    wait_until(
        lambda: fb.ok("queues", "mymod:add", "--json").json["consumers"] == 1,
        "the consumer to be seen",
    )
    fb.ok("pause", "mymod:add")
    assert consumer.stderr is not None
    while "is paused" not in consumer.stderr.readline():
        assert consumer.poll() is None
    queue.publish([message("a", x=1)])
    ran = fb("wait", "mymod:add", "--timeout", "0.3")
    assert (ran.code, "mymod.add is paused; `fb resume mymod.add` ends that." in ran.err) == (
        7,
        True,
    )
    fb.ok("resume", "mymod:add")
    fb.ok("wait", "mymod:add", "--timeout", "20")


# wait


def test_wait_ends_when_all_is_done(fb: Shell, queue: Queue) -> None:
    assert re.fullmatch(
        r"mymod\.add: drained after [\d.]+ (µs|ms)\.\n", fb.ok("wait", "mymod:add").err
    )
    fb.write("mymod.py", "import time\ndef add(x):\n    time.sleep(0.3)\n")
    queue.publish([message(f"m{number}", x=number) for number in range(20)])
    waiting = fb.start("wait", "mymod:add", "--json")
    assert waiting.stderr is not None
    assert (
        waiting.stderr.readline() == "mymod.add has no consumer; `fb consume ADDRESS` starts one.\n"
    )
    fb.ok("consume", "mymod:add", "--burst")
    out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, err) == (0, "")
    summary = json.loads(out)
    assert summary.pop("seconds") > 0
    assert summary == {
        "queues": ["mymod.add"],
        "drained": True,
        "ready": 0,
        "in_flight": 0,
        "delayed": 0,
    }


def test_wait_ends_in_time(fb: Shell, queue: Queue) -> None:
    queue.publish([message("a", x=1), message("b", delay=600, x=1)])
    ran = fb("wait", "mymod:add", "other", "--timeout", "0.2")
    assert (ran.code, ran.out) == (7, "")
    assert re.search(
        r"mymod.add, other: after [\d.]+ m?s there are still 1 ready, 0 in flight, 1 delayed\.",
        ran.err,
    )
    ran = fb("wait", "mymod:add", "-t", "0.2", "--json")
    assert (ran.code, ran.json["drained"], ran.json["ready"]) == (7, False, 1)
    queue.clear()
    queue.publish([message("b", delay=600, x=1)])
    assert "1 delayed message left" in fb.ok("wait", "mymod:add").err
    assert fb("wait", "mymod:add", "--delayed", "-t", "0").code == 7


def test_wait_shows_how_far_it_is_at_a_terminal(fb: Shell, queue: Queue) -> None:
    queue.publish([message("a", x=1)])
    ran = fb.at_terminal("wait", "mymod:add", "--timeout", "0.3")
    assert ran.code == 7
    assert "waiting: 1 ready, 0 in flight, 0 delayed" in ran.out


def test_wait_for_a_name_that_is_a_slip(fb: Shell, queue: Queue) -> None:
    queue.publish([message("a", x=1)])
    assert "mymod.ad holds nothing. Did you mean 'mymod.add'?" in fb.ok("wait", "mymod.ad").err


# what goes wrong

COMMANDS = (
    ["queues"],
    ["peek", "q"],
    ["clear", "q", "-y"],
    ["pause", "q"],
    ["resume", "q"],
    ["wait", "q"],
    ["dead", "ls", "q"],
    ["dead", "show", "q", "t"],
    ["dead", "edit", "q", "t", "x=1"],
    ["dead", "replay", "q", "t"],
    ["dead", "clear", "q", "-y"],
    ["delayed", "ls", "q"],
    ["delayed", "cancel", "q", "t"],
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_broker_out_of_reach(fb: Shell, words: list[str]) -> None:
    ran = fb(*words, "--json", env=UNREACHABLE)
    assert (ran.code, ran.out) == (4, "")
    assert ran.err.startswith("fb: ")
    assert "127.0.0.1:1" in ran.err
    assert "Traceback" not in ran.err


def strange_broker(fb: Shell, **lacks: object) -> dict[str, str]:
    """Install a broker that can do nothing but hand over, as a third party would, and lacks this,
    too. Return the environment in which it is that of the context."""
    fb.write(
        "mute.py",
        f"""
from msgspec.structs import replace
from fbcli.broker import Broker
from fbcli.brokers.memory import MemoryBroker
class Mute(Broker):
    capabilities = replace(
        MemoryBroker.capabilities, peek=False, purge=False, size=False, queues=False, **{lacks!r}
    )
    summary = "can do nothing"
    def publish(self, queue, messages): ...
    def open(self, queue, *, consumer_id, prefetch, lease): raise NotImplementedError
    def close(self): ...
""",
    )
    fb.write("mute-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: mute\nVersion: 1\n")
    fb.write("mute-1.dist-info/entry_points.txt", "[fbcli.brokers]\nmute = mute:Mute\n")
    return {"FB_BROKER": "mute://", "PYTHONPATH": str(fb.folder)}


def test_what_a_broker_cannot_do(fb: Shell) -> None:
    env = strange_broker(fb)
    for words in (
        ["queues"],
        ["peek", "q"],
        ["clear", "q", "-y"],
        ["wait", "q"],
        ["dead", "ls", "q"],
        ["dead", "clear", "q", "-y"],
    ):
        ran = fb(*words, "--json", env=env)
        assert (ran.code, ran.out) == (5, ""), words
        assert ran.err.startswith("fb: mute:// cannot "), words
    assert fb.ok("queues", "q", "--json", env=env).json["ready"] is None
    assert fb.ok("queues", "q", env=env).lines[1].split() == ["q", *"----", "0", "0", "no"]
    fb.ok("pause", "q", env=env)
    fb.ok("resume", "q", env=env)


def test_what_needs_a_store_that_reaches_as_far_as_the_broker(fb: Shell) -> None:
    """A queue of many hosts beside a file of one: refused, rather than done for one host alone."""
    fb.write(
        "far.py",
        "import fbcli\n"
        "@fbcli.boost(results=True)\n"
        "def kept(x): ...\n"
        "@fbcli.boost(dedupe=True)\n"
        "def once(x): ...\n"
        "@fbcli.boost(qps=1, qps_scope='cluster')\n"
        "def paced(x): ...\n"
        "def plain(x): ...\n",
    )
    lacks = {"delay_publish": 0, "delay_release": 0, "delay_view": False, "reach": "network"}
    env = strange_broker(fb, **lacks)
    refused = [
        ["pause", "q"],
        ["resume", "q"],
        ["limit", "q", "--qps", "1"],
        ["limit", "q", "--reset"],
        ["cancel", "id"],
        ["results"],
        ["show", "id"],
        ["push", "far:plain", "x=1", "--delay", "1h"],
        ["push", "far:plain", "x=1", "--unique"],
        ["push", "far:plain", "x=1", "--result"],
        ["call", "far:plain", "x=1"],
        ["consume", "far:kept"],
        ["consume", "far:once"],
        ["consume", "far:paced"],
        ["consume", "far:plain", "--backoff", "10"],
    ]
    for words in refused:
        ran = fb(*words, env=env)
        assert (ran.code, ran.out) == (5, ""), (words, ran.err)
        assert ran.err.startswith("fb: mute:// cannot "), words
        assert "store = " in ran.err, words
    fb.ok("push", "far:plain", "x=1", env=env)
    for words in refused[:8]:
        ran = fb(*words, env={**env, "FB_STORE": "sqlite:///chosen.db"})
        assert ran.code != 5, (words, ran.err)


def test_bad_words(fb: Shell, tmp_path: Path) -> None:
    assert fb("peek").code == 2
    assert fb("peek", "").code == 2
    assert fb("peek", "a:b:c").code == 2
    assert fb("peek", "q", "-n", "0").code == 2
    assert fb("wait", "q", "--timeout", "soon").code == 2
    assert fb("peek", "mymod:nope").code == 3
