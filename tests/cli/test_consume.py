"""`fb consume` as a user runs it: real processes on SQLite (nothing configured) and on Redis.
Signals: `test_signals.py`; `--json`: `test_json.py`; the live table: `test_live.py`."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typing_extensions import Self

from fbcli.broker import Outgoing, Size
from fbcli.stores.base import Result
from tests.cli.conftest import FB, PATIENCE, Ran, Shell
from tests.messages import message, queue_in, settings_in
from tests.servers import require_or_skip, wait_until
from tests.servers.redis import RedisServer

JOBS = '''\
"""A user's module: functions that write down what they do, so that a test can wait for it."""

import asyncio
import logging
import os
import threading
import time

from fbcli import boost

log = logging.getLogger(__name__)


def note(what, n):
    line = f"{what} {n} {os.getpid()} {threading.get_ident()} {time.time()}\\n"
    descriptor = os.open("notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def work(n: int = 0, seconds: float = 0.0) -> int:
    note("begin", n)
    time.sleep(seconds)
    note("end", n)
    return n * 2


async def awork(n: int = 0, seconds: float = 0.0) -> int:
    note("begin", n)
    await asyncio.sleep(seconds)
    note("end", n)
    return n * 2


def hold(n: int = 0) -> None:
    """Runs until the test says so."""
    note("begin", n)
    while not os.path.exists("go"):
        time.sleep(0.01)
    note("end", n)


async def ahold(n: int = 0) -> None:
    note("begin", n)
    while not os.path.exists("go"):
        await asyncio.sleep(0.01)
    note("end", n)


def fails(n: int = 0) -> None:
    note("begin", n)
    raise ValueError(f"no {n}")


@boost(retries=1)
def boosted(n: int = 0) -> None:
    note("begin", n)
    raise ValueError(f"no {n}")


def odd(n: int) -> None:
    note("begin", n)
    if n % 2:
        raise ValueError(f"{n} is odd")


def talk(n: int = 0) -> None:
    print(f"printed {n}")
    log.info("logged %d", n)
    note("end", n)
'''


class Note(NamedTuple):
    """A line that a function wrote down."""

    what: str
    n: int
    pid: int
    thread: int
    at: float


def notes(fb: Shell, what: str = "") -> list[Note]:
    """Return what the functions have written down so far."""
    with contextlib.suppress(FileNotFoundError):
        lines = (fb.folder / "notes").read_text().splitlines()
        found = [
            Note(word, int(n), int(pid), int(thread), float(at))
            for word, n, pid, thread, at in map(str.split, lines)
        ]
        return [note for note in found if what in ("", note.what)]
    return []


def began(fb: Shell) -> list[int]:
    """Return the numbers of the calls that began, in order."""
    return [note.n for note in notes(fb, "begin")]


def side_by_side(fb: Shell) -> int:
    """Return how many calls ran at once, at most."""
    running = itertools.accumulate(
        1 if note.what == "begin" else -1 for note in sorted(notes(fb), key=lambda note: note.at)
    )
    return max(running)


def push(fb: Shell, function: str, numbers: range = range(1), **more: Any) -> None:
    """Publish calls of `jobs:function`, with the task ids "t0", "t1", …"""
    raw(fb, function, *(message(f"t{n}", n=n, **more) for n in numbers))


def raw(fb: Shell, function: str, *messages: Outgoing) -> None:
    """Publish messages as they are."""
    with queue_in(fb.folder, f"jobs.{function}", fb.env.get("FB_BROKER")) as queue:
        queue.publish(messages)


def size(fb: Shell, function: str) -> Size:
    """Return how much the queue of `jobs:function` holds."""
    with queue_in(fb.folder, f"jobs.{function}", fb.env.get("FB_BROKER")) as queue:
        return queue.known_size()


def bodies(fb: Shell, function: str, *, dead: bool = False) -> list[dict[str, Any]]:
    """Return the ready messages, or the dead letters."""
    with queue_in(fb.folder, f"jobs.{function}", fb.env.get("FB_BROKER")) as queue:
        return [
            json.loads(body)
            for body in queue.broker.peek(queue.dead.name if dead else queue.name, 100)
        ]


def result(fb: Shell, task_id: str) -> Result | None:
    """Return the saved result of a task."""
    with settings_in(fb.folder, fb.env.get("FB_BROKER")) as settings:
        return settings.open_store().result(task_id)


def together(fb: Shell, calls: Iterable[Sequence[str]]) -> list[Ran]:
    """Run several commands, some of them side by side, since most of their time is waiting."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda words: fb(*words), calls))


class Consuming:
    """`fb consume` in the background, its streams in files. Use as a context: what is left over is
    killed."""

    _numbers = itertools.count()

    def __init__(self, fb: Shell, *words: str, env: dict[str, str] | None = None) -> None:
        number = next(self._numbers)
        self._out, self._err = fb.folder / f"out-{number}", fb.folder / f"err-{number}"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [FB, "consume", *words],
                cwd=fb.folder,
                env={**fb.env, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def out(self) -> str:
        """What it has written to stdout so far."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it has written to stderr so far."""
        return self._err.read_text()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The whole lines on stdout, which must be JSON objects."""
        found = [
            json.loads(line) for line in self.out.splitlines(keepends=True) if line.endswith("\n")
        ]
        assert all(type(event) is dict for event in found), found
        return found

    def says(self, text: str) -> bool:
        """Whether stderr has this text by now."""
        return text in self.err

    def children(self) -> list[int]:
        """The process ids of its child processes."""
        pid = self.process.pid
        with contextlib.suppress(OSError):
            return [
                int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            ]
        return []

    def until(self, condition: Any, what: str) -> None:
        """Wait for a condition while it lives; what it said is part of the failure."""
        try:
            wait_until(lambda: condition() or self.process.poll() is not None, what)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.err}") from None
        assert condition(), f"it ended with {self.process.returncode} before {what}:\n{self.err}"

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end; return its exit code."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end:\n{self.err}") from None

    def stop(self) -> int:
        """Stop it as a service manager does; return its exit code."""
        self.send(signal.SIGTERM)
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        children = self.children()
        self.process.kill()
        self.process.wait()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def set_up(fb: Shell, url: str | None = None) -> Shell:
    """Give the folder its module, and the broker to use (None: the default)."""
    fb.write("jobs.py", JOBS)
    fb.env.pop("PYTHONUNBUFFERED", None)
    if url:
        fb.env["FB_BROKER"] = url
    return fb


@pytest.fixture(params=["sqlite", "redis"])
def shop(request: pytest.FixtureRequest, fb: Shell) -> Shell:
    """`fb` with the module `jobs`, on each broker."""
    return set_up(fb, None if request.param == "sqlite" else request.getfixturevalue("redis_url"))


@pytest.fixture
def plain(fb: Shell) -> Shell:
    """The same, on the default alone: for what has nothing to do with the broker."""
    return set_up(fb)


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
    (["jobs:work", "--qps", "fast"], 2, "'--qps'.*valid number"),
    (["jobs:work", "--qps", "-1"], 2, "qps = -1.0 cannot be used"),
    (["jobs:work", "--concurrency", "0"], 2, "concurrency = 0 cannot be used"),
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
    with require_or_skip(RedisServer) as server:
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
