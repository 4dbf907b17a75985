"""`fb call` and `fb run`: a function's value on stdout, through its queue or here and now."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import pytest

from fbcli.results.status import statuses
from fbcli.settings import load
from tests.cli.consuming import consuming
from tests.cli.shell import Shell
from tests.cli.test_push import messages
from tests.servers import wait_until

# --- here and now


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["mymod:add", "x=1"], "3\n"),
        (["mymod:add", "x=1", "--json"], "3\n"),
        (["mymod:slow"], '{"slept":0.0}\n'),
        (["mymod:echo"], ""),
        (["mymod:echo", "--json"], "null\n"),
        (["mymod:echo", "value=some text"], "some text\n"),
        (["mymod:echo", "value=some text", "--json"], '"some text"\n'),
        (["mymod:echo", 'value:=[1, "ü", null]'], '[1,"ü",null]\n'),
        (["mymod:echo", "value=false"], "false\n"),
        (["mymod.py:add", "x=1", "y=1"], "2\n"),
    ],
)
def test_run_prints_the_value(fb: Shell, words: list[str], out: str) -> None:
    ran = fb.ok("run", *words)
    assert (ran.out, ran.err) == (out, "")
    assert not (fb.folder / ".fb").exists()


def test_run_gives_the_types_that_annotations_ask_for(fb: Shell) -> None:
    fb.write(
        "typed.py",
        "from datetime import date\n"
        "def task(day: date, /, *, tags: set[str] = frozenset()):\n"
        "    return [type(day).__name__, sorted(tags), type(tags).__name__]\n",
    )
    assert fb.ok("run", "typed:task", "day=2026-11-21", 'tags:=["b", "a"]').json == [
        "date",
        ["a", "b"],
        "set",
    ]


def test_run_of_boosted_partial_and_awaitable(fb: Shell) -> None:
    fb.write(
        "more.py",
        "import asyncio, functools\nfrom fbcli import boost\n@boost(qps=5)\ndef boosted(x: int):"
        " return x + 1\ndef two(x: int, y: int): return x * y\ndouble = functools.partial(two,"
        " 2)\ndef later(): return asyncio.sleep(0, 'done')\n",
    )
    assert fb.ok("run", "more:boosted", "x=1").out == "2\n"
    assert fb.ok("run", "more:double", "y=4").out == "8\n"
    assert fb.ok("run", "more:later").out == "done\n"


def test_what_the_function_prints_is_kept_out_of_json(fb: Shell) -> None:
    fb.write("chatty.py", "def task():\n    print('working')\n    return 1\n")
    assert fb.ok("run", "chatty:task").out == "working\n1\n"
    ran = fb.ok("run", "chatty:task", "--json")
    assert (ran.out, ran.err) == ("1\n", "working\n")


def test_run_shows_the_users_part_of_a_traceback(fb: Shell) -> None:
    ran = fb("run", "mymod:fails", "text=bad \x1b[31mred")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(
        f'Traceback (most recent call last):\n  File "{fb.folder}/mymod.py", line'
    )
    assert ran.err.count("  File ") == 1
    assert ran.err.endswith("fb: mymod:fails failed: ValueError: bad \\x1b[31mred\n")
    fb.write("later.py", "async def task():\n    raise KeyError('k')\n")
    ran = fb("run", "later:task")
    assert ran.code == 1
    assert ran.err.count("  File ") == 1


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["mymod:add"], 2, "needs 'x'"),
        (["mymod:add", "x=a"], 2, "is not an int"),
        (["mymod:nope"], 3, "no function"),
        (["mymod:echo", "-"], 2, "'-' is not an argument"),
        (["mymod:echo", "extra=1"], 2, "'extra' cannot be an argument"),
    ],
)
@pytest.mark.parametrize("command", ["run", "call"])
def test_what_cannot_be_called(
    fb: Shell, command: str, words: list[str], code: int, sentence: str
) -> None:
    ran = fb(command, *words)
    assert (ran.code, ran.out) == (code, "")
    assert sentence in ran.err
    assert "Traceback" not in ran.err


def test_the_exit_code_of_a_function_that_exits_is_its_own(fb: Shell) -> None:
    fb.write("leaving.py", "import sys\ndef task(): sys.exit(5)\n")
    assert fb("run", "leaving:task").code == 5


# --- through the queue


def test_call_prints_what_a_consumer_elsewhere_returned(fb: Shell) -> None:
    consuming(fb, "mymod:add", "mymod:echo", "mymod:fails", "mymod:slow")
    assert fb.ok("call", "mymod:add", "x=1", "y=5").out == "6\n"
    assert fb.ok("call", "mymod:slow").json == {"slept": 0}
    assert fb.ok("call", "mymod:echo", "value=some text").out == "some text\n"
    assert fb.ok("call", "mymod:echo", "--json", "value=some text").out == '"some text"\n'
    assert fb.ok("call", "mymod:echo").out == ""
    assert fb.ok("call", "mymod:echo", "--json", "--wait", "forever").out == "null\n"
    assert fb.ok("call", "--queue", "mymod.add", "x=1").out == "3\n"

    ran = fb("call", "mymod:fails", "text=bad", "--retries", "0")
    assert (ran.code, ran.out) == (1, "")
    assert f'File "{fb.folder}/mymod.py"' in ran.err
    assert "ValueError: bad" in ran.err
    assert ran.err.splitlines()[-1].startswith("fb: Task ")

    begun = time.monotonic()
    ran = fb("call", "mymod:slow", "seconds=30", "--wait", "0.2")
    assert ran.code == 7
    assert "within 200 ms" in ran.err
    assert "mymod.slow has a consumer: it is busy, or the call takes longer." in ran.err
    assert time.monotonic() - begun < 10


def test_call_without_a_consumer_says_how_to_start_one(fb: Shell) -> None:
    ran = fb("call", "mymod:add", "x=1", "--wait", "0.1", "--priority", "2")
    assert (ran.code, ran.out) == (7, "")
    assert "No result of task " in ran.err
    assert "mymod.add has no consumer; `fb consume" in ran.err
    (message,) = messages(fb)
    assert message["extra"]["result"] is True
    assert message["extra"]["priority"] == 2


def test_call_does_not_push_what_it_could_not_wait_for(fb: Shell) -> None:
    ran = fb("call", "mymod:add", "x=1", "--store", "redis://127.0.0.1:1/0")
    assert ran.code == 4
    assert not (fb.folder / ".fb/queue.db").exists() or messages(fb) == []


@pytest.mark.parametrize("wait", ["soon", "-1"])
def test_call_refuses_a_wait_that_is_none(fb: Shell, wait: str) -> None:
    ran = fb("call", "mymod:add", "x=1", f"--wait={wait}")
    assert ran.code == 2
    assert "--wait" in ran.err


def test_call_on_redis(fb: Shell, redis_url: str) -> None:
    fb.env["FB_BROKER"] = redis_url
    consuming(fb, "mymod:echo")
    value = {"deep": [1, {"text": "ü\n"}]}
    assert fb.ok("call", "mymod:echo", f"value:={json.dumps(value)}").json == value


def test_call_tells_how_the_task_ended(fb: Shell) -> None:
    consuming(fb, "mymod:fails", "mymod:slow")
    ran = fb("call", "mymod:fails", "text=bad \x1b[31mred", "--retries", "1")
    assert (ran.code, ran.out) == (1, "")
    last = ran.err.splitlines()[-1]
    assert re.fullmatch(
        r"fb: Task \S+ of mymod\.fails failed after 2 attempts on \S+:\d+: ValueError: bad"
        r" \\x1b\[31mred",
        last,
    ), last

    calling = fb.start("call", "mymod:slow", "seconds=60", "--id", "nap-1")
    store = load(fb.folder, fb.env).open_store()
    try:
        wait_until(lambda: statuses(store, ["nap-1"])[0].state == "running", "the call to run")
    finally:
        store.close()
    assert fb.ok("cancel", "nap-1").out == "nap-1  cancelled while running\n"
    out, err = calling.communicate(timeout=30)
    assert (calling.returncode, out, err) == (
        1,
        "",
        "fb: Task nap-1 of mymod.slow was cancelled while it ran.\n",
    )


RPC = """
import asyncio, fbcli
from mymod import add, fails

adder, failing = fbcli.Booster(add), fbcli.Booster(fails)
ask = lambda x: adder.publish({"x": x}, result=True)
print(fbcli.gather([ask(x) for x in range(50)], timeout=30) == [x + 2 for x in range(50)])
print(sorted(result.value for result in fbcli.as_completed(map(ask, range(3)), timeout=30)))

async def main():
    print(await ask(5), await fbcli.agather([ask(6), ask(7)], timeout=30))
    bad = await failing.apublish({"text": "oh"}, retries=0, result=True)
    print((await bad.awaited(timeout=30)).state, await bad.astate())

asyncio.run(main())
failing.publish({"text": "oh"}, retries=0, result=True).result(timeout=30)
"""


@pytest.mark.parametrize("scheme", ["sqlite", "redis"])
def test_calls_from_python(fb: Shell, scheme: str, request: pytest.FixtureRequest) -> None:
    if scheme == "redis":
        fb.env["FB_BROKER"] = request.getfixturevalue("redis_url")
    fb.write("rpc.py", RPC)
    consuming(fb, "mymod:add", "mymod:fails")
    done = subprocess.run(
        [sys.executable, "rpc.py"],
        cwd=fb.folder,
        env=fb.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == ["True", "[2, 3, 4]", "7 [8, 9]", "failed failed"], done
    assert done.returncode == 1
    assert f'File "{fb.folder}/mymod.py"' in done.stderr, "where it was raised"
    assert "fbcli.errors.TaskFailed: Task " in done.stderr.splitlines()[-1]
