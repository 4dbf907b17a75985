"""`fb push`, into the embedded default; what arrived is read from the broker itself."""

from __future__ import annotations

import json
import signal
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
import redis

from fbcli.settings import load
from tests.cli.shell import Shell
from tests.servers import wait_until
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer


def messages(fb: Shell, queue: str = "mymod.add") -> list[dict[str, Any]]:
    """What is ready in a queue, in order."""
    broker = load(fb.folder, fb.env).open_broker()
    try:
        return [json.loads(body) for body in broker.peek(queue, 100_000)]
    finally:
        broker.close()


def arguments(fb: Shell, queue: str = "mymod.add") -> list[dict[str, Any]]:
    return [
        {name: value for name, value in message.items() if name != "extra"}
        for message in messages(fb, queue)
    ]


# --- one


def test_one_call(fb: Shell) -> None:
    ran = fb.ok("push", "mymod:add", "x=1", "y=5")
    (task_id,) = ran.lines
    assert uuid.UUID(task_id).version == 7
    assert ran.err == ""
    (message,) = messages(fb)
    assert message["extra"].keys() == {"task_id", "publish_time"}
    assert message["extra"]["task_id"] == task_id
    assert abs(message["extra"]["publish_time"] - time.time()) < 60
    assert arguments(fb) == [{"x": 1, "y": 5}]


def test_arguments_are_read_by_their_annotations_or_as_json_or_from_files(fb: Shell) -> None:
    fb.write("letter.txt", "Dear\nall")
    fb.write("list.json", "[1, 2]")
    fb.write(
        "other.py", "def task(text: str, number=None, raw=None, letter=None, items=None): ...\n"
    )
    fb.ok(
        "push",
        "other:task",
        "text=007",
        "number=007",
        'raw:={"a": [null]}',
        "letter=@letter.txt",
        "items:=@list.json",
    )
    assert arguments(fb, "other.task") == [
        {
            "text": "007",
            "number": "007",
            "raw": {"a": [None]},
            "letter": "Dear\nall",
            "items": [1, 2],
        }
    ]


def test_json_output(fb: Shell) -> None:
    told = fb.ok("push", "mymod:add", "x=1", "--json").json
    assert told == {"task_id": messages(fb)[0]["extra"]["task_id"], "queue": "mymod.add"}


def test_options_of_one_message_travel_with_it(fb: Shell) -> None:
    words = [
        "--retries",
        "0",
        "--timeout",
        "5m",
        "--expires",
        "1h",
        "--priority",
        "9",
        "--result",
        "--id",
        "mine",
    ]
    assert fb.ok("push", "mymod:add", "x=1", *words).out == "mine\n"
    (message,) = messages(fb)
    del message["extra"]["publish_time"]
    assert message["extra"] == {
        "task_id": "mine",
        "retries": 0,
        "timeout": 300,
        "expires": 3600,
        "priority": 9,
        "result": True,
    }
    fb.ok("push", "mymod:add", "x=1", env={"FB_PUSH_RETRIES": "2"})
    assert messages(fb)[-1]["extra"]["retries"] == 2


def test_a_consumers_variables_are_not_put_into_messages(fb: Shell) -> None:
    fb.ok("push", "mymod:add", "x=1", env={"FB_RETRIES": "9", "FB_TIMEOUT": "3", "FB_EXPIRES": "5"})
    assert messages(fb)[0]["extra"].keys() == {"task_id", "publish_time"}


@pytest.mark.parametrize(("words", "seconds"), [("--delay 60", 60), ("--delay 1h30m", 5400)])
def test_delay(fb: Shell, words: str, seconds: float) -> None:
    ran = fb.ok("push", "mymod:add", "x=1", *words.split())
    assert "due " in ran.err
    assert messages(fb) == []
    shown = fb.ok("push", "mymod:add", "x=1", *words.split(), "--dry-run").json
    assert abs(shown["extra"]["delay_until"] - time.time() - seconds) < 60


def test_at(fb: Shell) -> None:
    shown = fb.ok("push", "mymod:add", "x=1", "--at", "2030-01-02T03:04:05Z", "--dry-run").json
    assert shown["extra"]["delay_until"] == 1893553445
    clock = fb.ok("push", "mymod:add", "x=1", "--at", "18:00", "--dry-run").json["extra"][
        "delay_until"
    ]
    assert 0 < clock - time.time() <= 86400 + 3600


def test_a_dry_run_pushes_nothing_and_connects_to_nothing(fb: Shell) -> None:
    ran = fb.ok("push", "mymod:add", "x=1", "--dry-run")
    assert ran.json["x"] == 1
    assert "Nothing was pushed" in ran.err
    assert not (fb.folder / ".fb/queue.db").exists()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["mymod:add"], 2, "mymod:add needs 'x'; its parameters are (x: int, y: int = 2)."),
        (["mymod:add", "x=1", "z=2"], 2, "takes no 'z'"),
        (["mymod:add", "xx=1", "y=1"], 2, "Did you mean 'x'?"),
        (["mymod:add", "x=one"], 2, "x='one' is not an int"),
        (["mymod:add", "1"], 2, "'1' is not an argument: write x=1."),
        (["mymod:add", "x:={"], 2, "is not JSON"),
        (["mymod:add", "x=@nope"], 2, "cannot read the file"),
        (["mymod:add", "x=1", "x=2"], 2, "'x' is given twice"),
        (["mymod:ad", "x=1"], 3, "There is no function 'ad' in mymod. Did you mean 'add'?"),
        (["mymud:add", "x=1"], 3, "Did you mean 'mymod'?"),
        (["mymod.add", "x=1"], 2, "write mymod:add."),
        (["nope.py:add", "x=1"], 3, "There is no file"),
        (["x=1"], 2, "'x=1' is not an address"),
        (["mymod:add", "x=1", "--delay", "soon"], 2, "'soon' is not a duration"),
        (["mymod:add", "x=1", "--at", "noon"], 2, "'noon' is not a time"),
        (["mymod:add", "x=1", "--at", "18:00", "--delay", "5"], 2, "not both"),
        (["mymod:add", "x=1", "--timeout", "0"], 2, "it must be longer than 0 s"),
        (["mymod:add", "x=1", "--priority", "10"], 2, "--priority"),
        (["mymod:add", "x=1", "--broker", "redis://127.0.0.1:1/0"], 4, "cannot be reached"),
        (["mymod:add", "x=1", "--broker", "nope://x"], 2, "No broker answers to 'nope://'"),
        (["mymod:add", "x=1", "--broker", "queue.db"], 2, "is not a broker URL"),
        (
            ["mymod:add", "x=1", "--broker", "redis+list://127.0.0.1:1/0", "--priority", "1"],
            5,
            "knows no priority",
        ),
        (["mymod:add", "x=1", "--context", "prod"], 2, "There is no context 'prod'"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    fb: Shell, words: list[str], code: int, sentence: str
) -> None:
    ran = fb("push", *words)
    assert (ran.code, ran.out) == (code, "")
    assert sentence in ran.err
    assert "Traceback" not in ran.err
    assert ran.err.count("\n") <= 2


def test_a_module_that_cannot_be_imported(fb: Shell) -> None:
    fb.write("broken.py", "import mymod\n\n1 / 0\n")
    ran = fb("push", "broken:task")
    assert ran.code == 3
    assert f"ZeroDivisionError: division by zero ({fb.folder}/broken.py:3)" in ran.err


def test_what_a_module_prints_at_import_is_not_data(fb: Shell) -> None:
    fb.write("chatty.py", "print('hello')\ndef task(): ...\n")
    ran = fb.ok("push", "chatty:task")
    assert len(ran.lines) == 1
    assert ran.err == "hello\n"


def test_files_and_packages_and_boosted_functions(fb: Shell) -> None:
    fb.write("jobs/crawl.py", "class Site:\n    @staticmethod\n    def fetch(url): ...\n")
    fb.ok("push", "jobs/crawl.py:Site.fetch", "url=u")
    fb.write("boosted.py", "from fbcli import boost\n@boost(queue='mine')\ndef task(x: int): ...\n")
    fb.ok("push", "boosted:task", "x=1")
    assert arguments(fb, "jobs.crawl.Site.fetch") == [{"url": "u"}]
    assert arguments(fb, "mine") == [{"x": 1}]


# --- by name


def test_a_queue_by_name_imports_nothing(fb: Shell) -> None:
    fb.write("mymod.py", "raise SystemExit(9)\n")
    fb.ok("push", "--queue", "other.queue", "x=1", "text=007", "flag=true", 'list:=["a"]')
    fb.ok("push", "--queue", "other.queue")
    assert arguments(fb, "other.queue") == [
        {"x": 1, "text": "007", "flag": True, "list": ["a"]},
        {},
    ]
    fb.ok("push", "-q", "other.queue", "--from", "-", input='{"a": 1}\n{"a": 2}\n')
    assert arguments(fb, "other.queue")[2:] == [{"a": 1}, {"a": 2}]


def test_a_queue_name_beside_an_address_replaces_its_own(fb: Shell) -> None:
    assert fb.ok("push", "mymod:add", "x=1", "--queue", "third", "--json").json["queue"] == "third"
    assert arguments(fb, "third") == [{"x": 1}]
    assert fb("push", "mymod:add", "z=1", "--queue", "third").code == 2


# --- many

RECORDS = {
    "calls.ndjson": '{"x": 1}\n\n{"x": 2, "y": 3, "extra": {"priority": 4, "task_id": "two"}}\n',
    "calls.jsonl": '{"x": 1}\n{"x": 2, "y": 3, "extra": {"priority": 4, "task_id": "two"}}',
    "calls.json": '[{"x": 1},\n {"x": 2, "y": 3, "extra": {"priority": 4, "task_id": "two"}}]',
    "calls.csv": 'x,y,extra\n1,,\n2,3,"{""priority"": 4, ""task_id"": ""two""}"\n',
}


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("piped", [False, True])
def test_records(fb: Shell, name: str, piped: bool) -> None:
    if piped:
        ran = fb.ok("push", "mymod:add", "-", input=RECORDS[name])
    else:
        fb.write(name, RECORDS[name])
        ran = fb.ok("push", "mymod:add", "--from", name)
    assert (ran.out, ran.err) == ("", "2 messages pushed to mymod.add.\n")
    second, first = messages(fb)  # the second one has a priority
    assert first["x"] == 1
    assert {name: second[name] for name in "xy"} == {"x": 2, "y": 3}
    assert second["extra"]["task_id"] == "two"
    assert second["extra"]["priority"] == 4


def test_many_batches_keep_their_order(fb: Shell) -> None:
    text = "".join(f'{{"x": {number}}}\n' for number in range(1234))
    assert fb.ok("push", "mymod:add", "-", "--json", input=text).json == {
        "pushed": 1234,
        "skipped": 0,
        "queue": "mymod.add",
    }
    assert [message["x"] for message in messages(fb)] == list(range(1234))


def test_arguments_beside_records_hold_for_those_that_lack_them(fb: Shell) -> None:
    fb.ok("push", "mymod:add", "-", "y=7", "--retries", "1", input='{"x": 1}\n{"x": 2, "y": 3}\n')
    assert arguments(fb) == [{"x": 1, "y": 7}, {"x": 2, "y": 3}]
    assert [message["extra"]["retries"] for message in messages(fb)] == [1, 1]


def test_a_bad_record_ends_it_with_its_line_and_how_many_were_pushed(fb: Shell) -> None:
    lines = ['{"x": 1}'] * 700 + ['{"z": 1}', '{"x": 2}']
    ran = fb("push", "mymod:add", "-", input="\n".join(lines))
    assert (ran.code, ran.out) == (2, "")
    assert "stdin, line 701: mymod:add needs 'x' and takes no 'z'" in ran.err
    assert "700 messages were pushed before that." in ran.err
    assert len(messages(fb)) == 700


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ("[1]", "not a JSON object"),
        ('{"x": 1, "extra": 5}', "'extra' is reserved"),
        ('{"x": 1, "extra": {"retries": -1}}', "retries = -1 cannot be used"),
        ('{"x": ' + "[" * 100 + "]" * 100 + "}", "nested more than 64 levels deep"),
    ],
)
def test_bad_records_are_left_out_when_asked(fb: Shell, bad: str, sentence: str) -> None:
    ran = fb(
        "push", "mymod:add", "-", "--skip-bad", "--json", input=f'{{"x": 1}}\n{bad}\n{{"x": 2}}\n'
    )
    assert ran.code == 8
    assert ran.json == {"pushed": 2, "skipped": 1, "queue": "mymod.add"}
    assert "stdin, line 2: " in ran.err
    assert sentence in ran.err
    assert "1 bad record was left out." in ran.err
    assert arguments(fb) == [{"x": 1}, {"x": 2}]


def test_a_whole_file_is_checked_without_pushing_any(fb: Shell) -> None:
    fb.write("calls.csv", "x,y\n1,2\nabc,2\n3,\n")
    ran = fb("push", "mymod:add", "--from", "calls.csv", "--skip-bad", "--dry-run")
    assert ran.code == 8
    assert [each["x"] for each in ran.objects] == [1, 3]
    assert "calls.csv, line 3: x='abc' is not an int" in ran.err
    assert "2 messages checked for mymod.add; nothing was pushed" in ran.err


def test_what_cannot_be_read(fb: Shell) -> None:
    for words, sentence in (
        (["--from", "nope.csv"], "nope.csv cannot be read: No such file or directory."),
        (["--from", "."], "cannot be read"),
        (["-", "--format", "xml"], "Formats are ndjson, csv, json."),
        (["-", "--count", "2"], "not both"),
        (["-", "--id", "one"], "--id names one message"),
    ):
        ran = fb("push", "mymod:add", *words)
        assert ran.code == 2
        assert sentence in ran.err


def test_without_a_dash_stdin_is_not_read(fb: Shell) -> None:
    fb.ok("push", "mymod:add", "x=1", input='{"x": 2}\n')
    assert arguments(fb) == [{"x": 1}]
    assert fb.ok("push", "mymod:add", "-", input="").err == "0 messages pushed to mymod.add.\n"


def test_a_slow_writer_does_not_keep_back_what_it_has_written(fb: Shell) -> None:
    child = fb.start("push", "mymod:add", "-", "--ids")
    assert child.stdin is not None
    assert child.stdout is not None
    for number in range(3):
        child.stdin.write(f'{{"x": {number}}}\n{{"x": ')
        child.stdin.flush()
        assert child.stdout.readline().strip() == messages(fb)[-1]["extra"]["task_id"]
        child.stdin.write("99}\n")
        child.stdin.flush()
        child.stdout.readline()
    child.stdin.close()
    assert child.wait(30) == 0
    assert [each["x"] for each in arguments(fb)] == [0, 99, 1, 99, 2, 99]


def test_an_interrupt_says_how_far_it_came(fb: Shell) -> None:
    child = fb.start("push", "mymod:add", "-")
    assert child.stdin is not None
    child.stdin.write('{"x": 1}\n')
    child.stdin.flush()
    wait_until(
        lambda: (fb.folder / ".fb/queue.db").exists() and len(messages(fb)) == 1,
        "the first message",
    )
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 130
    assert child.stderr is not None
    assert child.stderr.read() == "Interrupted: 1 message pushed to mymod.add so far.\n"


# --- a series


def test_count_with_templates(fb: Shell) -> None:
    ran = fb.ok("push", "mymod:echo", "value={{Count}}", "--count", "1000")
    assert (ran.out, ran.err) == ("", "1,000 messages pushed to mymod.echo.\n")
    assert [each["value"] for each in arguments(fb, "mymod.echo")] == list(range(1, 1001))


def test_ids_of_many(fb: Shell) -> None:
    ran = fb.ok("push", "mymod:echo", "value=n{{Index}}", "--count", "3", "--ids")
    assert ran.lines == [message["extra"]["task_id"] for message in messages(fb, "mymod.echo")]
    ran = fb.ok("push", "mymod:echo", "--count", "2", "--ids", "--json")
    assert [each["queue"] for each in ran.objects] == ["mymod.echo"] * 2


def test_an_unknown_template_is_refused(fb: Shell) -> None:
    ran = fb("push", "mymod:echo", "value={{Cuont}}", "--count", "3")
    assert ran.code == 2
    assert "Did you mean 'Count'?" in ran.err
    assert fb.ok("push", "mymod:echo", "value={{Cuont}}", "--dry-run").json["value"] == "{{Cuont}}"


# --- at a terminal


def test_at_a_terminal_a_dash_says_how_to_pipe(fb: Shell) -> None:
    ran = fb.at_terminal("push", "mymod:add", "-")
    assert ran.code == 2
    assert "stdin is a terminal. Pipe them: cat calls.ndjson | fb push ADDRESS -" in ran.out


def test_at_a_terminal_there_is_a_progress_bar(fb: Shell) -> None:
    ran = fb.at_terminal("push", "mymod:add", "x={{Count}}", "--count", "2000")
    assert ran.code == 0
    assert "push to mymod.add" in ran.out
    assert "2000/2000" in ran.out
    assert ran.out.rstrip().endswith("2,000 messages pushed to mymod.add.")
    path: Path = fb.write("calls.ndjson", '{"x": 1}\n' * 1500)
    assert "1500/1500" in fb.at_terminal("push", "mymod:add", "--from", path.name).out


# --- elsewhere


def test_redis(fb: Shell, redis_url: str) -> None:
    fb.env["FB_BROKER"] = redis_url
    fb.ok("push", "mymod:add", "x=1")
    fb.ok("push", "mymod:add", "-", input='{"x": 2}\n' * 600)
    assert len(messages(fb)) == 601
    assert not (fb.folder / ".fb").exists()


def test_a_push_whose_reply_gets_lost_is_repeated(
    fb: Shell, redis_server: RedisServer, redis_url: str
) -> None:
    """And pushed once."""
    with Proxy(redis_server.port) as proxy:
        url = redis_url.replace(f":{redis_server.port}/", f":{proxy.port}/")
        proxy.lose_reply(b'"x":77')
        ran = fb("push", "mymod:add", "x=77", env={"FB_BROKER": url})
        assert proxy.lost
    assert ran.code == 0, ran.err
    with redis.Redis.from_url(redis_url) as client:
        (body,) = client.lrange("mymod.add", 0, -1)
    assert json.loads(body)["extra"]["task_id"] == ran.out.strip()
