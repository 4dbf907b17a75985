"""`fb consume` as a user runs it: real processes on SQLite (nothing configured) and on Redis.
Signals: `test_signals.py`; `--json`: `test_json.py`; the live table: `test_live.py`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fbcli.broker import Outgoing, Size
from tests.cli.consuming import Consuming
from tests.cli.jobs import (
    began,
    bodies,
    notes,
    push,
    raw,
    result,
    set_up,
    side_by_side,
    size,
    together,
)
from tests.cli.shell import Shell
from tests.installed import PATIENCE
from tests.messages import message, queue_in
from tests.servers import wait_until
from tests.servers.redis import RedisServer

# what is run


def test_one_function_to_the_end_of_its_queue(shop: Shell) -> None:
    push(shop, "work", range(60))
    ran = shop.ok("consume", "jobs:work", "--burst")
    assert sorted(began(shop)) == list(range(60))
    assert size(shop, "work") == Size(ready=0, in_flight=0, delayed=0)
    assert ran.out == ""
    assert "jobs.work: 60 done in" in ran.err


def test_several_functions_at_once(plain: Shell) -> None:
    push(plain, "hold", range(2))
    push(plain, "ahold", range(2, 4))
    with Consuming(plain, "jobs:hold", "jobs.py:ahold") as consumer:
        consumer.until(lambda: sorted(began(plain)) == [0, 1, 2, 3], "all to run side by side")
        plain.write("go", "")
        consumer.until(
            lambda: size(plain, "hold").in_flight + size(plain, "ahold").in_flight == 0,
            "them to be settled",
        )
        assert consumer.stop() == 0
        assert "jobs.hold: 2 done" in consumer.err
        assert "jobs.ahold: 2 done" in consumer.err


def test_an_empty_queue_is_a_success(plain: Shell) -> None:
    assert "jobs.work: 0 done" in plain.ok("consume", "jobs:work", "--burst").err
    plain.ok("consume", "jobs:work", "jobs:awork", "--burst", "--processes", "2")


def test_max_tasks(plain: Shell) -> None:
    push(plain, "work", range(10))
    plain.ok("consume", "jobs:work", "--max-tasks", "3")
    assert len(began(plain)) == 3
    assert size(plain, "work") == Size(ready=7, in_flight=0, delayed=0)


def test_max_tasks_are_those_of_each_process(plain: Shell) -> None:
    push(plain, "fails", range(10))
    ran = plain("consume", "jobs:fails", "--max-tasks", "2", "--processes", "2", "--retries", "0")
    assert ran.code == 1
    assert len(began(plain)) == 4
    assert "another one starts" not in ran.err


def test_processes(shop: Shell) -> None:
    push(shop, "hold", range(8))
    with Consuming(shop, "jobs:hold", "--processes", "2", "--concurrency", "4") as consumer:
        consumer.until(lambda: len(began(shop)) == 8, "two processes to run four each")
        assert {note.pid for note in notes(shop)} == set(consumer.children())
        shop.write("go", "")
        consumer.until(lambda: size(shop, "hold").in_flight == 0, "them to be settled")
        assert consumer.stop() == 0
    assert "jobs.hold: 8 done" in consumer.err
    assert sorted(began(shop)) == list(range(8))


# options that hold in the consumer


@pytest.mark.parametrize(
    ("function", "mode", "most"),
    [
        ("work", "auto", 6),
        ("awork", "auto", 6),
        ("awork", "threads", 6),
        ("work", "asyncio", 6),
        ("work", "solo", 1),
        ("awork", "solo", 1),
    ],
)
def test_modes(plain: Shell, function: str, mode: str, most: int) -> None:
    push(plain, function, range(6), seconds=0.2)
    plain.ok("consume", f"jobs:{function}", "--mode", mode, "--burst")
    assert sorted(began(plain)) == list(range(6))
    assert side_by_side(plain) == most
    threads = {note.thread for note in notes(plain)}
    if function == "awork":
        assert len(threads) == (6 if mode == "threads" else 1)


def test_concurrency(plain: Shell) -> None:
    push(plain, "work", range(10), seconds=0.05)
    plain.ok("consume", "jobs:work", "--concurrency", "3", "--burst")
    assert side_by_side(plain) == 3


def test_qps(plain: Shell) -> None:
    push(plain, "work", range(16))
    plain.ok("consume", "jobs:work", "--qps", "20", "--burst")
    at = sorted(note.at for note in notes(plain, "begin"))
    assert len(at) == 16
    assert 15 / 20 - 0.1 <= at[-1] - at[0] < 15


def test_retries(plain: Shell) -> None:
    push(plain, "fails")
    ran = plain("consume", "jobs:fails", "--retries", "2", "--burst")
    assert ran.code == 1
    assert len(began(plain)) == 3
    (letter,) = bodies(plain, "fails", dead=True)
    assert (
        letter["n"],
        letter["extra"]["dead"]["attempts"],
        letter["extra"]["dead"]["reason"],
    ) == (0, 3, "no 0")
    assert "failed for good after 3 attempts" in ran.err
    assert "jobs.py" in ran.err


def test_backoff_up_to_a_second_is_waited_for(plain: Shell) -> None:
    push(plain, "fails")
    assert (
        plain("consume", "jobs:fails", "--retries", "2", "--backoff", "200ms", "--burst").code == 1
    )
    first, second, third = (note.at for note in notes(plain))
    assert 0.1 <= second - first < 5
    assert 0.2 <= third - second < 5


def test_a_longer_backoff_goes_back_to_the_broker(shop: Shell) -> None:
    push(shop, "fails")
    with Consuming(shop, "jobs:fails", "--backoff", "1h") as consumer:
        consumer.until(
            lambda: size(shop, "fails") == Size(ready=0, in_flight=0, delayed=1),
            "it to be put back",
        )
        assert consumer.stop() == 0
    assert len(began(shop)) == 1


def test_timeout(plain: Shell) -> None:
    push(plain, "hold")
    push(plain, "ahold")
    ran = plain(
        "consume", "jobs:hold", "jobs:ahold", "--timeout", "300ms", "--retries", "0", "--burst"
    )
    assert ran.code == 1
    for function in ("hold", "ahold"):
        (letter,) = bodies(plain, function, dead=True)
        assert letter["extra"]["dead"]["error_type"] == "TaskTimeout"
        assert "timeout of 300 ms" in letter["extra"]["dead"]["reason"]
    assert notes(plain, "end") == []


def test_expires(plain: Shell) -> None:
    old = {"publish_time": time.time() - 60}
    raw(plain, "work", message("old", n=1, extra=old), message("new", n=2), Outgoing(b'{"n": 3}'))
    ran = plain.ok("consume", "jobs:work", "--expires", "30s", "--burst")
    assert sorted(began(plain)) == [2, 3]
    assert "1 dropped" in ran.err
    assert size(plain, "work.dead").ready == 0


@pytest.mark.parametrize("held", [1, 4])
def test_prefetch(shop: Shell, held: int) -> None:
    push(shop, "hold", range(10))
    with Consuming(shop, "jobs:hold", "--concurrency", "1", "--prefetch", str(held)) as consumer:
        consumer.until(lambda: began(shop) == [0], "the first to run")
        consumer.until(lambda: size(shop, "hold").in_flight == held, f"{held} to be held")
        assert size(shop, "hold").ready == 10 - held
        consumer.send(signal.SIGTERM)
        consumer.until(
            lambda: size(shop, "hold").in_flight == 1, "what it holds beside it to go back"
        )
        shop.write("go", "")
        assert consumer.wait() == 0
    assert began(shop) == [0]
    assert size(shop, "hold") == Size(ready=9, in_flight=0, delayed=0)


def test_results(shop: Shell) -> None:
    push(shop, "work", range(1, 3))
    shop.ok("consume", "jobs:work", "--results", "--burst")
    saved = result(shop, "t2")
    assert saved is not None
    assert (saved.state, saved.value, saved.queue, saved.attempts) == (
        "succeeded",
        4,
        "jobs.work",
        1,
    )
    push(shop, "work", range(3, 4))
    shop.ok("consume", "jobs:work", "--burst")
    assert result(shop, "t3") is None
    push(shop, "fails", range(4, 5))
    shop("consume", "jobs:fails", "--results", "--burst", "--retries", "0")
    failed = result(shop, "t4")
    assert failed is not None
    assert (failed.state, failed.error_type, failed.error) == ("failed", "ValueError", "no 4")


def test_options_by_their_precedence(plain: Shell) -> None:
    def attempts(function: str, *words: str, **env: str) -> int:
        (plain.folder / "notes").unlink(missing_ok=True)
        push(plain, function)
        assert plain("consume", f"jobs:{function}", "--burst", *words, env=env).code == 1
        return len(began(plain))

    both = '[tasks."jobs:fails"]\nretries = 5\n[tasks."jobs:boosted"]\nretries = 5\n'
    plain.write("fb.toml", "[defaults]\nretries = 6\n")
    assert attempts("fails") == 7, "[defaults]"
    plain.write("fb.toml", f"[defaults]\nretries = 6\n{both}")
    assert attempts("fails") == 6, '[tasks."…"]'
    assert attempts("boosted") == 2, "@boost"
    assert attempts("boosted", "--processes", "2", FB_RETRIES="2") == 3, (
        "FB_RETRIES, in a child process"
    )
    assert attempts("boosted", "--retries", "0", "--processes", "2", FB_RETRIES="2") == 1, (
        "flag, in a child process"
    )


def test_each_function_has_options_of_its_own(plain: Shell) -> None:
    plain.write(
        "fb.toml",
        '[tasks."jobs:hold"]\nprocesses = 2\nconcurrency = 1\n[tasks."jobs:ahold"]\nqueue ='
        ' "elsewhere"\n',
    )
    push(plain, "hold", range(3))
    with queue_in(plain.folder, "elsewhere") as queue:
        queue.publish([message("a", n=7)])
    with Consuming(plain, "jobs:hold", "jobs:ahold") as consumer:
        consumer.until(
            lambda: sorted(began(plain)) in ([0, 1, 7], [0, 2, 7], [1, 2, 7]),
            "one in each process, and the other",
        )
        assert len({note.pid for note in notes(plain) if note.n != 7}) == 2
        assert size(plain, "hold").ready == 1
        plain.write("go", "")
        assert consumer.stop() == 0


def test_what_a_message_says_wins(plain: Shell) -> None:
    raw(
        plain,
        "fails",
        message("a", n=1, extra={"retries": 0}),
        message("b", n=2, extra={"retries": 2}),
    )
    assert plain("consume", "jobs:fails", "--retries", "5", "--burst").code == 1
    assert sorted(began(plain)) == [1, 2, 2, 2]


# exit codes


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_exit_code_tells_how_it_went(plain: Shell, processes: str) -> None:
    words = ("consume", "jobs:odd", "--burst", "--retries", "0", "--processes", processes)
    push(plain, "odd", range(0, 8, 2))
    assert plain(*words).code == 0
    push(plain, "odd", range(4))
    assert plain(*words).code == 8
    push(plain, "odd", range(1, 8, 2))
    ran = plain(*words)
    assert ran.code == 1
    assert "another one starts" not in ran.err, "a process that is done is not started again"


WRONG: list[tuple[list[str], int, str]] = [
    (["job:work"], 3, "There is no module 'job', .* Did you mean 'jobs'?"),
    (["jobs:wrok"], 3, "There is no function 'wrok' in jobs. Did you mean 'work'?"),
    (["jobs:work", "jobs:wrok"], 3, "There is no function 'wrok'"),
    (["jobs:work", "jobs:wrok", "--processes", "2"], 3, "There is no function 'wrok'"),
    (
        ["broken:task"],
        3,
        "Importing 'broken' failed: ZeroDivisionError: division by zero .*broken.py:1",
    ),
    (["jobs"], 2, "jobs"),
    ([], 2, "missing argument 'ADDRESS…'"),
    (["jobs:work", "--qps", "fast"], 2, "--qps: qps = 'fast' cannot be used: write a number"),
    (["jobs:work", "--qps", "-1"], 2, "qps = '-1' cannot be used"),
    (["jobs:work", "--concurrency", "0"], 2, "concurrency = '?0'? cannot be used"),
    (["jobs:work", "--timeout", "1 fortnight"], 2, "'1 fortnight' is not a duration"),
    (["jobs:work", "--mode", "thread"], 2, "mode = 'thread' cannot be used"),
    (["jobs:work", "--log-level", "LOUD"], 2, "'LOUD' is no log level"),
    (["jobs:work", "--max-tasks", "0"], 2, "'--max-tasks'"),
    (["jobs:work", "--qsp", "5"], 2, "there is no option --qsp. Did you mean '--qps'?"),
    (["jobs:work", "--broker", "rediss+tcp://x"], 2, "No broker answers to 'rediss\\+tcp://'"),
]


def test_what_cannot_be_consumed(plain: Shell) -> None:
    plain.write("broken.py", "1 / 0\n")
    calls = [["consume", *words, "--burst"] for words, _, _ in WRONG]
    for (words, code, said), ran in zip(WRONG, together(plain, calls), strict=True):
        assert (ran.code, ran.out) == (code, ""), (words, ran)
        assert re.search(said, ran.err), (words, ran)
        assert "Traceback" not in ran.err


def test_a_bad_variable_and_a_bad_file(plain: Shell) -> None:
    ran = plain("consume", "jobs:work", "--burst", env={"FB_RETRIES": "many"})
    assert ran.code == 2
    assert "FB_RETRIES" in ran.err
    plain.write("fb.toml", '[tasks."jobs:work"]\nretires = 5\n')
    ran = plain("consume", "jobs:work", "--burst")
    assert ran.code == 2
    assert "Did you mean 'retries'?" in ran.err


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_broker_that_is_away_at_the_start_is_waited_for(fb: Shell, processes: str) -> None:
    set_up(fb)
    with RedisServer() as server:
        fb.env["FB_BROKER"] = server.url
        server.stop()
        with Consuming(fb, "jobs:work", "--processes", processes) as consumer:
            consumer.until(lambda: consumer.says("Trying again"), "it to say so")
            assert consumer.says("cannot be reached")
            assert "Traceback" not in consumer.err
            server.start()
            push(fb, "work")
            consumer.until(lambda: notes(fb, "end") != [], "it to come up with the server")
            assert consumer.stop() == 0


# what is not a message


BAD = {
    b"junk \xff": "not JSON",
    b"": "not JSON",
    b"[1]": "not an object",
    b"{}": "needs 'n'",
    b'{"n": 1, "m": 2}': "takes no 'm'",
    b'{"n": 1, "extra": 5}': "'extra' is not an object",
    b'{"n": 1, "extra": {"retries": -1}}': "own options cannot be used",
    b'{"n": "%s"}' % (b"x" * 10_000_000): "10,000,009 bytes; the limit is",
    b'{"n": ' + b"[" * 100 + b"]" * 100 + b"}": "nested more than 64 levels",
    b'{"n": ' + b"[" * 200_000 + b"]" * 200_000 + b"}": "nested more than 64 levels",
}


def test_bad_messages_are_dead_letters_and_nothing_else_happens(shop: Shell) -> None:
    raw(shop, "odd", *map(Outgoing, BAD), message("good", n=2))
    with Consuming(shop, "jobs:odd") as consumer:
        consumer.until(lambda: began(shop) == [2], "the good one to run")
        push(shop, "odd", range(4, 5))
        consumer.until(lambda: began(shop) == [2, 4], "it to go on")
        assert consumer.stop() == 0
    letters = bodies(shop, "odd", dead=True)
    reasons = [letter["extra"]["dead"]["reason"] for letter in letters]
    assert all(said in reason for reason, said in zip(reasons, BAD.values(), strict=True)), reasons
    assert all(letter["extra"]["dead"]["attempts"] == 0 for letter in letters)
    assert consumer.err.count("refused: ") == len(BAD)
    assert "Traceback" not in consumer.err
    assert len(max(consumer.err.splitlines(), key=len)) < 500, "ten megabytes are not logged"
    assert size(shop, "odd") == Size(ready=0, in_flight=0, delayed=0)


def test_the_reason_of_a_bad_option_is_one_sentence(plain: Shell) -> None:
    raw(plain, "odd", Outgoing(b'{"n": 1, "extra": {"retries": -1}}'))
    ran = plain("consume", "jobs:odd", "--burst")
    assert ran.code == 1
    (letter,) = bodies(plain, "odd", dead=True)
    reason = letter["extra"]["dead"]["reason"]
    assert "retries" in reason
    assert "\n" not in reason


def test_the_task_id_that_is_logged_finds_the_dead_letter(plain: Shell) -> None:
    raw(plain, "odd", Outgoing(b'{"n": 1}'))
    ran = plain("consume", "jobs:odd", "--burst", "--retries", "0")
    found = re.search(r"ERROR jobs\.odd (\S+): failed for good", ran.err)
    assert found
    assert (
        plain.ok("dead", "show", "jobs:odd", found[1], "--json").json["extra"]["task_id"]
        == found[1]
    )


# what is logged and printed


def test_what_a_function_logs_carries_its_task(plain: Shell) -> None:
    push(plain, "talk", range(1, 2))
    ran = plain.ok("consume", "jobs:talk", "--burst")
    assert re.search(r" INFO jobs\.talk t1: logged 1 \(jobs\.py:\d+\)\n", ran.err)
    assert ran.out == "printed 1\n"


def test_log_level(plain: Shell) -> None:
    push(plain, "talk")
    push(plain, "fails", range(1))
    ran = plain(
        "consume", "jobs:talk", "jobs:fails", "--burst", "--log-level", "error", "--retries", "0"
    )
    assert ran.code == 8
    assert "logged" not in ran.err
    assert re.match(r"\S+ \S+ ERROR jobs\.fails t0: failed for good", ran.err)


@pytest.mark.parametrize(
    ("form", "processes"), [("plain", "1"), ("json", "1"), ("json", "2"), ("plain", "2")]
)
def test_log_file(plain: Shell, processes: str, form: str) -> None:
    push(plain, "talk", range(30))
    words = ["--log-json"] if form == "json" else []
    ran = plain.ok(
        "consume",
        "jobs:talk",
        "--burst",
        "--processes",
        processes,
        "--log-file",
        "logs/fb.log",
        *words,
    )
    written = (plain.folder / "logs" / "fb.log").read_text()
    for text in (ran.err, written):
        if form == "json":
            lines = [json.loads(line) for line in text.splitlines()]
            logged = {
                (line["task_id"], line["message"]) for line in lines if line["logger"] == "jobs"
            }
            assert all(line["queue"] == "jobs.talk" for line in lines if line["logger"] == "jobs")
        else:
            logged = set(
                re.findall(r"INFO jobs\.talk (t\d+): (logged \d+) \(jobs\.py:\d+\)\n", text)
            )
        assert logged == {(f"t{n}", f"logged {n}") for n in range(30)}
        assert text.count("logged 7") == 1, "once, not by the child and by the parent"
    assert sorted(ran.out.splitlines()) == sorted(f"printed {n}" for n in range(30))


@pytest.mark.parametrize("processes", ["1", "2"])
def test_what_a_function_prints_is_seen_at_once(plain: Shell, processes: str) -> None:
    push(plain, "talk")
    with Consuming(plain, "jobs:talk", "--processes", processes) as consumer:
        consumer.until(
            lambda: size(plain, "talk") == Size(ready=0, in_flight=0, delayed=0), "it to run"
        )
        assert consumer.out == "printed 0\n"


def test_thousands_of_failures_do_not_flood_the_log(plain: Shell) -> None:
    push(plain, "fails", range(3000))
    ran = plain("consume", "jobs:fails", "--burst", "--retries", "0")
    assert ran.code == 1
    assert len(ran.err.splitlines()) < 1000
    assert "3,000 failed" in ran.err
    assert "more in the last second" in ran.err


def test_a_reader_that_goes_away_ends_it(plain: Shell) -> None:
    push(plain, "work", range(20))
    with plain.start("consume", "jobs:work", "--json", "--qps", "20") as consumer:
        assert consumer.stdout is not None
        assert json.loads(consumer.stdout.readline())
        consumer.stdout.close()
        assert consumer.wait(PATIENCE) == 1
        assert consumer.stderr is not None
        assert "bug in fbcli" not in consumer.stderr.read()
    counted = size(plain, "work")
    assert counted.ready + counted.in_flight + len(began(plain)) >= 20


@pytest.fixture(autouse=True)
def _no_process_is_left(fb: Shell) -> Iterator[None]:
    """Whatever was started in the folder has ended."""
    yield

    def left() -> list[str]:
        found = []
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                with contextlib.suppress(OSError):
                    if os.readlink(process / "cwd") == str(fb.folder):
                        found.append(process.name)
        return found

    if Path("/proc").exists():
        wait_until(lambda: not left(), "all processes of the folder to end")
