"""Signals to `fb consume`: who stops when, what becomes of what runs, and the exit code."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import termios

import pytest

from fbcli.broker import Size
from tests.cli.consuming import Consuming
from tests.cli.jobs import began, bodies, notes, push, raw, size
from tests.cli.shell import Shell
from tests.installed import FB, PATIENCE
from tests.messages import message
from tests.servers import wait_until

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGQUIT: 143}

AT_ONCE = 5.0
"""Seconds, on a busy machine; the drain time is 25."""


@pytest.mark.parametrize(
    ("number", "processes"), [(signal.SIGTERM, "1"), (signal.SIGINT, "1"), (signal.SIGTERM, "2")]
)
def test_the_first_signal_finishes_what_runs_and_takes_no_more(
    plain: Shell, number: signal.Signals, processes: str
) -> None:
    push(plain, "hold", range(8))
    with Consuming(plain, "jobs:hold", "--processes", processes, "--concurrency", "2") as consumer:
        consumer.until(lambda: len(began(plain)) == 2 * int(processes), "as many to run as may")
        running = sorted(began(plain))
        consumer.send(number)
        consumer.until(lambda: consumer.says("the same signal again stops now"), "it to say so")
        push(plain, "hold", range(8, 10))
        plain.write("go", "")
        assert consumer.wait() == 0
    assert sorted(note.n for note in notes(plain, "end")) == running == sorted(began(plain))
    assert size(plain, "hold") == Size(ready=10 - len(running), in_flight=0, delayed=0)
    assert "unfinished" not in consumer.err


@pytest.mark.parametrize(("function", "processes"), [("hold", "1"), ("ahold", "1"), ("hold", "2")])
def test_what_is_unfinished_when_the_drain_time_is_over_goes_back(
    shop: Shell, function: str, processes: str
) -> None:
    number = signal.SIGTERM if function == "hold" else signal.SIGINT
    raw(shop, function, message("mine", n=1, extra={"retries": 0}))
    with Consuming(
        shop, f"jobs:{function}", "--drain", "200ms", "--processes", processes
    ) as consumer:
        consumer.until(lambda: began(shop) == [1], "it to run")
        consumer.send(number)
        assert consumer.wait() == CODES[number]
        assert "1 given back unfinished" in consumer.err
    (body,) = bodies(shop, function)
    assert (body["n"], body["extra"]["task_id"]) == (1, "mine")
    assert "attempts" not in body["extra"], "it does not count as an attempt"
    assert size(shop, function) == Size(ready=1, in_flight=0, delayed=0)
    assert began(shop) == [1]
    shop.write("go", "")
    shop.ok("consume", f"jobs:{function}", "--burst")
    assert [note.n for note in notes(shop, "end")] == [1], (
        "and whoever comes next carries it out, although it may not be retried"
    )


def test_a_coroutine_that_is_given_back_is_not_called_again(plain: Shell) -> None:
    push(plain, "ahold")
    with Consuming(plain, "jobs:ahold", "--drain", "200ms", "--retries", "3") as consumer:
        consumer.until(lambda: began(plain) == [0], "it to run")
        consumer.send(signal.SIGTERM)
        assert consumer.wait() == 143
    assert began(plain) == [0]
    assert "attempt 1 of 4 failed" not in consumer.err


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("hold", []),
        ("hold", ["--processes", "2"]),
        ("ahold", []),
        ("hold", ["--mode", "asyncio"]),
        ("hold", ["--mode", "solo"]),
    ],
)
def test_the_second_signal_stops_at_once(plain: Shell, function: str, words: list[str]) -> None:
    push(plain, function)
    with Consuming(plain, f"jobs:{function}", *words) as consumer:
        consumer.until(lambda: began(plain) == [0], "it to run")
        consumer.send(signal.SIGTERM)
        consumer.until(lambda: consumer.says("the same signal again stops now"), "it to drain")
        consumer.send(signal.SIGTERM)
        try:
            assert consumer.process.wait(AT_ONCE) == 143
        finally:
            plain.write("go", "")
    assert size(plain, function) == Size(ready=1, in_flight=0, delayed=0)
    assert "Traceback" not in consumer.err
    assert "Task was destroyed" not in consumer.err


@pytest.mark.parametrize("processes", ["1", "2"])
def test_quit_stops_at_once(plain: Shell, processes: str) -> None:
    push(plain, "hold")
    with Consuming(plain, "jobs:hold", "--processes", processes) as consumer:
        consumer.until(lambda: began(plain) == [0], "it to run")
        consumer.send(signal.SIGQUIT)
        assert consumer.wait() == 143
    assert size(plain, "hold") == Size(ready=1, in_flight=0, delayed=0)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_tstp_quiets(plain: Shell, processes: str) -> None:
    push(plain, "hold", range(2))
    with Consuming(
        plain, "jobs:hold", "--processes", processes, "--concurrency", str(2 // int(processes))
    ) as consumer:
        consumer.until(lambda: len(began(plain)) == 2, "them to run")
        consumer.send(signal.SIGTSTP)
        consumer.until(lambda: consumer.says("quiet"), "it to say so")
        plain.write("go", "")
        consumer.until(
            lambda: size(plain, "hold") == Size(ready=0, in_flight=0, delayed=0),
            "what ran to be finished",
        )
        push(plain, "hold", range(2, 6))
        plain.ok("consume", "jobs:hold", "--burst")
        assert consumer.process.poll() is None
        assert sorted(note.n for note in notes(plain, "end")) == list(range(6))
        assert (
            len(
                {note.pid for note in notes(plain) if note.n > 1}
                - {consumer.process.pid, *consumer.children()}
            )
            == 1
        )
        assert consumer.stop() == 0


def test_a_process_that_is_replaced_stays_quiet(plain: Shell) -> None:
    push(plain, "hold", range(2))
    with Consuming(
        plain, "jobs:hold", "--processes", "2", "--concurrency", "1", "--heartbeat", "1h"
    ) as consumer:
        consumer.until(lambda: len(began(plain)) == 2, "them to run")
        consumer.send(signal.SIGTSTP)
        consumer.until(lambda: consumer.says("quiet"), "it to say so")
        victim, _ = consumer.children()
        push(plain, "hold", range(2, 3))
        os.kill(victim, signal.SIGKILL)
        consumer.until(lambda: len(set(consumer.children()) - {victim}) == 2, "another one")
        with pytest.raises(TimeoutError):
            wait_until(lambda: len(began(plain)) > 2, "it to take what it should not", 2)
        consumer.send(signal.SIGQUIT)
        consumer.wait()


def test_usr1_shows_stacks_and_what_runs(plain: Shell) -> None:
    push(plain, "hold")
    with Consuming(plain, "jobs:hold") as consumer:
        consumer.until(lambda: began(plain) == [0], "it to run")
        consumer.send(signal.SIGUSR1)
        consumer.until(lambda: consumer.says("jobs.hold runs t0 {'n': 0}"), "the task")
        consumer.until(lambda: consumer.says(" in hold\n"), "the stack of its thread")
        plain.write("go", "")
        assert consumer.stop() == 0, "and it goes on"
    assert began(plain) == [0]
    assert consumer.out == ""


def test_usr1_shows_what_several_processes_run(plain: Shell) -> None:
    push(plain, "hold", range(2))
    with Consuming(plain, "jobs:hold", "--processes", "2", "--concurrency", "1") as consumer:
        consumer.until(lambda: len(began(plain)) == 2, "them to run")
        consumer.send(signal.SIGUSR1)
        for n in range(2):
            consumer.until(lambda: consumer.says(f"jobs.hold runs t{n} {{'n': {n}}}"), "the task")  # noqa: B023
        plain.write("go", "")
        assert consumer.stop() == 0


def test_the_stacks_of_several_processes_can_be_read(plain: Shell) -> None:
    push(plain, "hold", range(2))
    with Consuming(plain, "jobs:hold", "--processes", "2", "--concurrency", "1") as consumer:
        consumer.until(lambda: len(began(plain)) == 2, "them to run")
        for times in range(1, 6):
            consumer.send(signal.SIGUSR1)
            consumer.until(lambda: consumer.err.count("jobs.hold runs t") == 2 * times, "the tasks")  # noqa: B023
        plain.write("go", "")
        assert consumer.stop() == 0
    files = [line for line in consumer.err.splitlines() if "File" in line]
    assert files
    assert all(re.fullmatch(r'\s*File "[^"]+", line \d+,? in \S+', line) for line in files)


def test_hup_replaces_the_processes(plain: Shell) -> None:
    push(plain, "hold", range(2))
    with Consuming(plain, "jobs:hold", "--processes", "2", "--concurrency", "1") as consumer:
        consumer.until(lambda: len(began(plain)) == 2, "one to run in each")
        before = consumer.children()
        consumer.send(signal.SIGHUP)
        consumer.until(lambda: consumer.says("replacing processes"), "it to say so")
        plain.write("go", "")
        consumer.until(lambda: len(set(consumer.children()) - set(before)) == 2, "two new ones")
        push(plain, "hold", range(2, 12))
        consumer.until(lambda: len(notes(plain, "end")) == 12, "all to be done")
        assert consumer.stop() == 0
    assert {note.pid for note in notes(plain) if note.n < 2} == set(before), "what ran was finished"
    assert not {note.pid for note in notes(plain) if note.n >= 2} & set(before)
    assert sorted(began(plain)) == list(range(12))
    assert "jobs.hold: 12 done" in consumer.err, "the totals go on"


def test_hup_of_a_single_process_changes_nothing(plain: Shell) -> None:
    with Consuming(plain, "jobs:work") as consumer:
        push(plain, "work")
        consumer.until(lambda: began(plain) == [0], "it to run")
        consumer.send(signal.SIGHUP)
        consumer.until(
            lambda: consumer.says("HUP replaces child processes, and there are none"),
            "it to say so",
        )
        push(plain, "work", range(1, 2))
        consumer.until(lambda: began(plain) == [0, 1], "it to go on")
        assert consumer.stop() == 0


def test_a_process_that_was_told_to_end_is_replaced(plain: Shell) -> None:
    push(plain, "work", range(40), seconds=0.05)
    with Consuming(plain, "jobs:work", "--processes", "2", "--concurrency", "1") as consumer:
        consumer.until(lambda: len({note.pid for note in notes(plain)}) == 2, "both to work")
        victim, other = consumer.children()
        os.kill(victim, signal.SIGTERM)
        consumer.until(lambda: victim not in consumer.children(), "it to end")
        try:
            wait_until(lambda: len(consumer.children()) == 2, "another one", AT_ONCE)
        finally:
            assert other in consumer.children()
            consumer.send(signal.SIGTERM)
            assert consumer.wait() == 0


def test_the_whole_group_gets_the_signal(plain: Shell) -> None:
    """As `systemctl stop` does it: TERM to every process of the service."""
    push(plain, "hold", range(4))
    with Consuming(plain, "jobs:hold", "--processes", "2", "--concurrency", "1") as consumer:
        consumer.until(lambda: len(began(plain)) == 2, "them to run")
        for pid in (*consumer.children(), consumer.process.pid):
            os.kill(pid, signal.SIGTERM)
        consumer.until(lambda: consumer.says("the same signal again stops now"), "it to drain")
        plain.write("go", "")
        assert consumer.wait() == 0
    assert len(notes(plain, "end")) == 2
    assert size(plain, "hold") == Size(ready=2, in_flight=0, delayed=0)


def test_a_terminal_that_is_closed_stops_it(plain: Shell) -> None:
    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    ours, theirs = pty.openpty()
    push(plain, "work")
    words = [FB, "consume", "jobs:work"]
    with subprocess.Popen(
        words,
        cwd=plain.folder,
        env={**plain.env, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=take_terminal,
    ) as child:
        os.close(theirs)
        try:
            wait_until(lambda: began(plain) == [0], "it to work")
            os.close(ours)
            child.wait(AT_ONCE)
        finally:
            child.terminate()
            child.wait(PATIENCE)


def test_events_of_what_is_given_back(plain: Shell) -> None:
    push(plain, "hold", range(5))
    with Consuming(
        plain, "jobs:hold", "--json", "--concurrency", "1", "--prefetch", "3", "--drain", "100ms"
    ) as consumer:
        consumer.until(
            lambda: size(plain, "hold").in_flight == 3 and began(plain) == [0], "three to be held"
        )
        assert consumer.stop() == 143
    released = [event["task_id"] for event in consumer.events if event["event"] == "released"]
    assert set(released) >= {"t1", "t2"}
    summary = json.loads(consumer.out.splitlines()[-1])
    assert (summary["event"], summary["total"]["released"], summary["total"]["unfinished"]) == (
        "summary",
        3,
        1,
    )


def test_an_event_tells_what_was_cut_off(plain: Shell) -> None:
    push(plain, "hold")
    with Consuming(plain, "jobs:hold", "--json", "--drain", "100ms") as consumer:
        consumer.until(lambda: began(plain) == [0], "it to run")
        assert consumer.stop() == 143
    assert [event["task_id"] for event in consumer.events if event["event"] == "released"] == ["t0"]
