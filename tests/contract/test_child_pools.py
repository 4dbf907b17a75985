"""The pools of child processes against the contract of pools, and what they do beyond it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fbcli.engine.children.wire import ChildOutput, ChildSetup, RaisedError, RemoteCall
from fbcli.errors import RemoteError, TaskTimeout, WorkerLost
from fbcli.platform import system
from fbcli.pools.base import Done, Pool
from fbcli.pools.children.group import Start
from fbcli.pools.children.pool import ChildPool
from fbcli.pools.children.steps import Steps
from fbcli.pools.children.wire import Refusal
from fbcli.processes.command import python_command
from tests.contract.pool_contract import Job, PoolContract, into
from tests.servers import needs, wait_until

ACTS = "tests.contract.child_acts"
ENTRY = "fbcli.engine.children.main:main"
"""What a child is started with."""
Act = tuple[str, dict[str, Any]]


def act(name: str, **arguments: Any) -> Act:
    """Return what a child is asked to do."""
    return name, arguments


class JobTranslator:
    """`patience`: how often a failed attempt is tried again, each time after `wait` seconds.
    `closed` counts what was left open."""

    def __init__(
        self,
        attempts: int = 1,
        wait: float = 0.0,
        guarded: Callable[[Job], bool] = lambda job: False,
    ) -> None:
        self._attempts = attempts
        self._wait = wait
        self.guarded = guarded
        self.begun: list[str] = []
        self.closed = 0

    def steps(self, task: Job) -> Steps:
        for attempt in range(1, self._attempts + 1):
            self.begun.append(task.task_id)
            try:
                task.result = yield None
                return
            except GeneratorExit:
                self.closed += 1
                raise
            except BaseException as error:
                task.error = error
            if attempt < self._attempts and self._wait:
                yield self._wait

    def request(self, task: Job, *, begun: bool) -> bytes:
        name, arguments = task.act or ("nothing", {})
        body, attempt = msgspec.json.encode(arguments), self.begun.count(task.task_id) + (not begun)
        call = RemoteCall(
            f"{ACTS}:{name}",
            "acts",
            task.task_id,
            attempt,
            1,
            None,
            True,
            msgspec.Raw(b'{"retries":5}'),
            [msgspec.Raw(body)],
        )
        return msgspec.json.encode(call)

    def value(self, task: Job, value: msgspec.Raw) -> Any:
        return msgspec.json.decode(value)

    def error(self, task: Job, error: msgspec.Raw) -> BaseException:
        report = msgspec.json.decode(error, type=RaisedError)
        return RemoteError(
            report.text,
            error_type=report.error_type,
            lineage=report.lineage,
            traceback=report.traceback,
        )

    def cut_off(self, task: Job, error: BaseException) -> None:
        task.error = error

    def ran(self, task: Job, seconds: float) -> None:
        assert seconds >= 0.0


class Bench:
    """A pool of child processes, and what it has said."""

    def __init__(
        self, mode: str, size: int, translator: JobTranslator | None = None, **setting: Any
    ) -> None:
        self.done: list[Job] = []
        self.refusals: list[Refusal] = []
        self.messages: list[dict[str, Any]] = []
        tasks_per_child = setting.pop("tasks_per_child", None)
        self.pool = make_pool(
            mode,
            size,
            into(self.done),
            translator or JobTranslator(),
            setting,
            tasks_per_child=tasks_per_child,
            on_refusal=self.refusals.append,
            on_message=self.messages.append,
        )

    def do(self, *acts: Act | None, brisk: bool = False) -> list[Job]:
        """Have jobs done, and return them when they are."""
        jobs = [Job(f"{len(self.done)}.{index}", act) for index, act in enumerate(acts)]
        count = len(self.done) + len(jobs)
        self.pool.submit(jobs)
        self.pool.nudge(brisk)
        wait_until(lambda: len(self.done) >= count, f"{count} jobs to be done")
        return jobs

    def begin(self, *acts: Act | None, brisk: bool = False) -> list[Job]:
        jobs = [Job(f"b{index}", act) for index, act in enumerate(acts)]
        self.pool.submit(jobs)
        self.pool.nudge(brisk)
        return jobs

    def result(self, name: str, **arguments: Any) -> Any:
        (job,) = self.do(act(name, **arguments))
        if job.error is not None:
            raise job.error
        return job.result

    def pids(self) -> list[int]:
        return [child.process.pid for child in self.pool._children.all]


def make_pool(
    mode: str,
    size: int,
    done: Done[Job],
    translator: JobTranslator,
    setting: dict[str, Any],
    *,
    tasks_per_child: int | None = None,
    on_refusal: Callable[[Refusal], None],
    on_message: Callable[[dict[str, Any]], None] = lambda message: None,
) -> ChildPool:
    if mode != "process":
        needs(mode)
    here = {
        "path": sys.path,
        "argv": ["the", "parent's"],
        "root": os.getcwd(),
        "addresses": [f"{ACTS}:nothing"],
    }
    start = Start(
        python_command(ENTRY, mode, "fb:acts"),
        ChildSetup(parent=os.getpid(), **{**here, **setting}),
        folder=os.getcwd(),
        shared=mode != "process",
        tasks_per_child=tasks_per_child,
    )
    return ChildPool(size, done, translator, start, on_refusal=on_refusal, on_message=on_message)


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(mode: str, size: int, *args: Any, **setting: Any) -> Bench:
        benches.append(Bench(mode, size, *args, **setting))
        return benches[-1]

    yield make
    for each in benches:
        each.pool.close()
        wait_until(lambda each=each: not each.pids(), "all children to end")


def is_alive(pid: int) -> bool:
    """Whether a process is there, and not just not yet taken leave of."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class ChildContract(PoolContract):
    mode: str
    interrupts = 20

    def make(self, size: int, done: Done[Job]) -> Pool:
        return make_pool(
            self.mode,
            size,
            done,
            JobTranslator(),
            {},
            on_refusal=lambda refusal: pytest.fail(refusal.text),
        )

    def nap(self, seconds: float) -> Act:
        return act("nap", seconds=seconds)

    def bad(self) -> Act:
        return act("bad")


class TestProcess(ChildContract):
    mode = "process"


class TestGevent(ChildContract):
    mode = "gevent"


class TestEventlet(ChildContract):
    mode = "eventlet"


every_mode = pytest.mark.parametrize("mode", ["process", "gevent", "eventlet"])
greenlets = pytest.mark.parametrize("mode", ["gevent", "eventlet"])


# what a child is like


@every_mode
def test_a_child_is_like_its_parent(bench: Callable[..., Bench], mode: str) -> None:
    on = bench(mode, 1)
    assert on.result("text_of", what="path") == sys.path
    assert on.result("text_of", what="argv") == ["the", "parent's"]
    assert on.result("text_of", what="folder") == os.getcwd()
    assert on.result("text_of", what="stdin") == "/dev/null"
    assert on.result("text_of", what="session") is True
    assert on.result("echo", value={"a": [1, None, "ü", 2**70]}) == {"a": [1, None, "ü", 2**70]}
    assert on.result("odd_value") == {"path": "/tmp", "object": "<class 'object'>"}


def test_a_child_has_no_thread_beside_its_main_one(bench: Callable[..., Bench]) -> None:
    assert bench("process", 1).result("text_of", what="threads") == ["MainThread"]


@every_mode
def test_current_tells_of_the_task(bench: Callable[..., Bench], mode: str) -> None:
    (job,) = bench(mode, 2).do(act("current", extra={"publish_time": 5.0}))
    assert job.result == {
        "task_id": job.task_id,
        "queue": "acts",
        "attempt": 1,
        "arguments": {},
        "extra": {"publish_time": 5.0},
        "deliveries": 1,
        "retries": 5,
    }


@every_mode
def test_errors_tell_what_they_were(bench: Callable[..., Bench], mode: str) -> None:
    (job,) = bench(mode, 1).do(act("fail", text="no ü"))
    assert isinstance(job.error, RemoteError)
    assert (str(job.error), job.error.error_type) == ("no ü", "ConnectionRefusedError")
    assert {
        "builtins.ConnectionRefusedError",
        "builtins.ConnectionError",
        "builtins.OSError",
    } <= set(job.error.lineage)
    assert "raise ConnectionRefusedError(text)" in job.error.traceback
    assert "children/calls" not in job.error.traceback, "only the user's own frames"


@every_mode
def test_signals_for_all_of_a_group_are_for_the_parent_to_decide(
    bench: Callable[..., Bench], mode: str
) -> None:
    on = bench(mode, 1)
    pid = on.result("pid")
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    assert on.result("pid") == pid
    assert on.result("forked") is True, "processes that functions start end by TERM as ever"
    assert on.result("pid") == pid, "and the child does not take their end for its own"


@every_mode
def test_large_values(bench: Callable[..., Bench], mode: str) -> None:
    text = "ü" * 1_500_000
    on = bench(mode, 2)
    jobs = on.do(*[act("echo", value=text + str(number)) for number in range(4)])
    assert [job.result for job in jobs] == [text + str(number) for number in range(4)]


@greenlets
def test_a_shared_child_runs_as_many_as_there_are_slots_when_it_starts(
    bench: Callable[..., Bench], mode: str
) -> None:
    on = bench(mode, 2)
    on.pool.resize(20)
    on.begin(*[act("nap", seconds=0.5)] * 30)
    wait_until(lambda: len(on.pool.running()) == 20, "twenty to run")
    on.pool.resize(1)
    wait_until(lambda: len(on.pool.running()) == 1, "the others to end")
    on.pool.take_back()


# refusing


@every_mode
def test_a_function_that_cannot_be_imported_is_reported_once(
    bench: Callable[..., Bench], tmp_path: Path, mode: str
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    on = bench(mode, 3, addresses=["broken:task"], root=str(tmp_path))
    on.begin(*[None] * 5)
    wait_until(lambda: bool(on.refusals), "the refusal")
    wait_until(lambda: not on.pids(), "the child to end")
    assert [(refusal.kind) for refusal in on.refusals] == ["AddressNotFound"]
    assert "ZeroDivisionError" in on.refusals[0].text
    assert len(on.pool.take_back()) == 5
    assert on.done == []


def test_children_that_die_before_they_are_ready_are_given_up(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    (tmp_path / "dying.py").write_text("import os\nos._exit(7)\n")
    on = bench("process", 3, addresses=["dying:task"], root=str(tmp_path))
    wait_until(lambda: bool(on.refusals), "the refusal")
    assert on.refusals[0].kind == "AddressNotFound"
    assert "exit code 7" in on.refusals[0].text


def test_a_file_that_breaks_later_is_no_reason_to_give_up(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    module = tmp_path / "breaking.py"
    module.write_text("def task(): pass\n")
    on = bench("process", 1, addresses=["breaking:task"], root=str(tmp_path))
    pid = on.result("pid")
    module.write_text("1 / 0  # longer than before, so that it is compiled anew\n")
    on.do(act("leave", code=1))
    wait_until(lambda: on.pool._children._restarts.failures >= 2, "new children to fail")
    (job,) = on.begin(act("pid"))
    assert on.refusals == []
    module.write_text("def task(): return 'whole again'\n")
    wait_until(lambda: len(on.done) == 2, "a new child to work")
    assert job.result != pid


# being killed


def test_a_call_stuck_in_c_is_killed_and_its_slot_replaced(bench: Callable[..., Bench]) -> None:
    on = bench("process", 1)
    on.do(None)
    stuck, following = on.begin(act("stuck_in_regex"), act("pid"))
    wait_until(lambda: [job.task_id for job in on.pool.running()] == ["b0"], "it to run")
    assert on.pool.interrupt(stuck, TimeoutError)
    assert not on.pool.interrupt(stuck, TimeoutError), "once is enough"
    wait_until(lambda: len(on.done) == 3, "both to end")
    assert isinstance(stuck.error, TimeoutError)
    assert following.result


def test_what_an_interrupted_call_has_started_ends_with_it(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    on = bench("process", 1)
    (job,) = on.begin(act("start_sleeper", path=str(tmp_path / "pid")))
    wait_until(
        lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "",
        "the sleeper to start",
    )
    sleeper = int((tmp_path / "pid").read_text())
    assert is_alive(sleeper)
    assert on.pool.abandon(job) is None, "its end is told by `done`"
    wait_until(lambda: not is_alive(sleeper), "the sleeper to end")
    wait_until(lambda: len(on.done) == 1, "the call to end")
    assert isinstance(on.done[0].error, WorkerLost)


@pytest.mark.parametrize(
    ("name", "arguments", "fate"),
    [
        ("segfault", {}, "was killed by SIGSEGV"),
        ("leave", {"code": 3}, "ended with exit code 3"),
        ("close_files", {}, "was killed by SIGKILL"),
    ],
)
def test_a_child_that_dies_fails_the_attempt(
    bench: Callable[..., Bench], name: str, arguments: dict[str, Any], fate: str
) -> None:
    on = bench("process", 2)
    before, dying, after = on.do(None, act(name, **arguments), act("pid"))
    assert isinstance(dying.error, WorkerLost)
    assert str(dying.error) == f"the child process {fate} in the middle of the call"
    assert before.error is after.error is None


@every_mode
def test_it_is_tried_again_like_any_failure(
    bench: Callable[..., Bench], tmp_path: Path, mode: str
) -> None:
    translator = JobTranslator(attempts=2)
    (job,) = bench(mode, 2, translator).do(act("crash_once", path=str(tmp_path / "crashed")))
    assert job.result == "second"
    assert translator.begun == [job.task_id] * 2


def test_of_a_batch_of_short_calls_only_the_culprit_fails(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    on = bench("process", 1)
    on.do(*[None] * 200, brisk=True)
    notes = tmp_path / "notes"
    acts = [act("note", path=str(notes), text=str(index)) for index in range(150)]
    acts[70] = act("leave", code=3)
    jobs = on.do(*acts, brisk=True)
    assert [index for index, job in enumerate(jobs) if job.error is not None] == [70]
    assert isinstance(jobs[70].error, WorkerLost)
    assert [int(line) for line in notes.read_text().split()] == [
        *range(70),
        *range(71, 150),
    ], "each once, in order"


@greenlets
def test_greenlets_that_share_a_child_share_its_end(bench: Callable[..., Bench], mode: str) -> None:
    on = bench(mode, 3)
    on.do(None)
    jobs = on.begin(act("nap", seconds=60), act("nap", seconds=60))
    wait_until(lambda: len(on.pool.running()) == 2, "both to run")
    os.kill(on.pids()[0], signal.SIGKILL)
    wait_until(lambda: len(on.done) == 3, "both to end")
    assert all(isinstance(job.error, WorkerLost) for job in jobs)
    assert on.result("pid")


# being handed several calls at once


def test_a_long_call_among_short_ones_holds_up_none(bench: Callable[..., Bench]) -> None:
    on = bench("process", 2)
    on.do(*[None] * 500, brisk=True)
    jobs = on.begin(*[None] * 10, act("nap", seconds=60), *[None] * 200, brisk=True)

    def others() -> bool:
        on.pool.nudge(True)
        return len(on.done) == 500 + 210

    wait_until(others, "the short ones to end")
    assert jobs[10] not in on.done
    assert on.pool.interrupt(jobs[10], TimeoutError)
    wait_until(lambda: jobs[10] in on.done, "the long one to end")


def test_nothing_runs_that_was_taken_back(bench: Callable[..., Bench], tmp_path: Path) -> None:
    on = bench("process", 2)
    on.do(*[None] * 300, brisk=True)
    notes = tmp_path / "notes"
    notes.touch()
    taken: list[str] = []
    for batch in range(5):
        on.done.clear()
        jobs = [
            Job(f"{batch}.{index}", act("note", path=str(notes), text=f"{batch}.{index}"))
            for index in range(300)
        ]
        on.pool.submit(jobs)
        on.pool.nudge(True)
        wait_until(lambda: bool(on.done), "some to end")
        back = [job.task_id for job in on.pool.take_back()]
        taken += back
        wait_until(lambda back=back: len(on.done) == 300 - len(back), "what had begun to end")
        assert on.pool.pending() == 0
    assert taken, "short as they are, some had not begun"
    noted = notes.read_text().split()
    assert len(noted) == len(set(noted)) == 1500 - len(taken)
    assert not set(noted) & set(taken)


def test_an_interrupt_hits_the_one_that_runs_though_more_were_handed_over(
    bench: Callable[..., Bench],
) -> None:
    on = bench("process", 1)
    on.do(*[None] * 500, brisk=True)
    jobs = on.begin(*[None] * 20, act("nap", seconds=60), *[None] * 20, brisk=True)
    wait_until(lambda: len(on.done) >= 520, "those before to end")
    assert not on.pool.interrupt(jobs[30], TimeoutError), "it has not begun"
    assert on.pool.interrupt(jobs[20], TimeoutError)
    wait_until(lambda: len(on.done) == 541, "all to end")
    assert [job.task_id for job in jobs if job.error is not None] == ["b20"]


def test_guarded_attempts_begin_with_their_calls(bench: Callable[..., Bench]) -> None:
    translator = JobTranslator(guarded=lambda job: True)
    on = bench("process", 1, translator)
    on.do(*[None] * 300, brisk=True)
    on.begin(act("nap", seconds=0.2), *[None] * 10, brisk=True)
    wait_until(lambda: len(on.pool.running()) == 1, "one to run")
    assert len(translator.begun) == 301
    assert len(on.pool.take_back()) == 10
    wait_until(lambda: len(on.done) == 301, "it to end")


# between attempts


@every_mode
def test_a_wait_between_attempts_takes_a_slot_and_can_be_interrupted(
    bench: Callable[..., Bench], mode: str
) -> None:
    on = bench(mode, 2, JobTranslator(attempts=2, wait=60.0))
    (job,) = on.begin(act("fail", text="first"))
    wait_until(lambda: isinstance(job.error, RemoteError), "the first attempt to fail")
    wait_until(lambda: on.pool.running() == [job], "it to wait")
    on.pool.submit([Job("x", act("nap", seconds=0.05)), Job("y")])
    on.pool.nudge(False)
    wait_until(lambda: len(on.done) == 2, "the others to end, one after the other")
    assert [each.task_id for each in on.done] == ["x", "y"]
    assert on.pool.interrupt(job, KeyError)
    wait_until(lambda: len(on.done) == 3, "it to end")
    assert isinstance(job.error, KeyError)


# greenlets


@greenlets
def test_sleeping_calls_run_side_by_side_in_one_child(
    bench: Callable[..., Bench], mode: str
) -> None:
    on = bench(mode, 200)
    on.do(None)
    begun = time.monotonic()
    jobs = on.do(*[act("nap", seconds=0.5)] * 200)
    assert time.monotonic() - begun < 50, "200 x 0.5 s side by side"
    assert all(job.error is None for job in jobs)
    assert len(on.pids()) == 1


@greenlets
def test_sockets_and_threads_are_patched(bench: Callable[..., Bench], mode: str) -> None:
    on = bench(mode, 50)
    begun = time.monotonic()
    assert [job.result for job in on.do(*[act("sockets", seconds=0.8)] * 50)] == [True] * 50
    assert time.monotonic() - begun < 20, "50 x 0.8 s side by side"


@greenlets
def test_an_interrupted_greenlet_may_tidy_up(
    bench: Callable[..., Bench], tmp_path: Path, mode: str
) -> None:
    on = bench(mode, 3)
    on.do(None)
    note = tmp_path / "note"
    hit, spared = on.begin(act("interrupted", path=str(note)), act("nap", seconds=0.5))
    wait_until(lambda: len(on.pool.running()) == 2, "both to run")
    assert on.pool.interrupt(hit, TaskTimeout)
    wait_until(lambda: len(on.done) == 3, "both to end")
    assert isinstance(hit.error, TaskTimeout)
    assert note.read_text() == "TaskTimeout"
    assert isinstance(hit.error.__cause__, RemoteError)
    assert "time.sleep(60)" in hit.error.__cause__.traceback, "it tells where it was"
    assert spared.error is None
    assert on.pool.abandon(spared) is None


@greenlets
def test_what_waits_behind_a_hub_that_is_blocked_can_be_had_back(
    bench: Callable[..., Bench], mode: str
) -> None:
    on = bench(mode, 2)
    on.do(*[None] * 500, brisk=True)
    jobs = on.begin(act("stuck_in_regex"), *[None] * 100, brisk=True)
    wait_until(lambda: jobs[0] in on.pool.running(), "it to run")
    taken = on.pool.take_back()
    assert len(taken) + len(on.done) - 500 + len(on.pool.running()) == 101
    os.kill(on.pids()[0], signal.SIGKILL)
    wait_until(lambda: len(on.done) == 601 - len(taken), "the rest to end")


# recycling


@every_mode
def test_a_child_is_replaced_after_so_many_calls(bench: Callable[..., Bench], mode: str) -> None:
    on = bench(mode, 1, tasks_per_child=3)
    pids = [job.result for job in on.do(*[act("pid")] * 8)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 2]
    counts = [job.result for job in on.do(*[act("count")] * 30, brisk=True)]
    assert max(counts) <= 3
    assert all(job.error is None for job in on.done)


@every_mode
def test_a_child_that_holds_too_much_is_replaced(bench: Callable[..., Bench], mode: str) -> None:
    probe = bench(mode, 1)
    base = system.resident_bytes(probe.result("pid"))
    assert base is not None
    on = bench(mode, 1, max_memory=base + 50_000_000)
    first = on.result("remember", size=1000)
    assert on.result("remember", size=100_000_000) == first

    def replaced() -> bool:
        return bool(on.result("pid") != first)

    wait_until(replaced, "another child to take its place")
    assert all(job.error is None for job in on.done)


@every_mode
def test_a_replaced_child_ends_in_order(
    bench: Callable[..., Bench], tmp_path: Path, mode: str
) -> None:
    (tmp_path / "tidy.py").write_text(
        "import atexit,"
        f" pathlib\natexit.register(pathlib.Path({str(tmp_path / 'ended')!r}).touch)\ndef task():"
        " pass\n"
    )
    on = bench(mode, 1, addresses=["tidy:task"], root=str(tmp_path), tasks_per_child=1)
    on.do(None)
    wait_until((tmp_path / "ended").exists, "what was registered for the end")


# asyncio


def test_an_async_function_has_one_loop_in_a_child(bench: Callable[..., Bench]) -> None:
    jobs = bench("process", 1).do(act("loop_id"), act("loop_id"), act("loop_id"))
    assert len({job.result for job in jobs}) == 1


# what a child says


@every_mode
def test_what_is_said_beside_outcomes_is_passed_on(bench: Callable[..., Bench], mode: str) -> None:
    output = ChildOutput("tests.contract.child_acts:speak", {"prefix": "> "})
    on = bench(mode, 1, output=output)
    on.do(act("nothing"))
    assert on.messages == [{"spoken": "> hello"}]


# closing


@every_mode
def test_close_ends_children_and_leaves_no_task_half_way(
    bench: Callable[..., Bench], mode: str
) -> None:
    translator = JobTranslator(attempts=2, wait=60.0, guarded=lambda job: True)
    on = bench(mode, 3, translator)
    on.do(None)
    failing, _ = on.begin(act("fail", text="x"), act("nap", seconds=60))
    wait_until(
        lambda: failing.error is not None and len(on.pool.running()) == 2, "one to wait, one to run"
    )
    pids = on.pids()
    on.pool.close()
    wait_until(lambda: not any(map(is_alive, pids)), "the children to end")
    wait_until(lambda: not on.pool._thread.is_alive(), "the pool's thread to end")
    assert len(on.done) == 1, "what still ran has no outcome"
    assert translator.closed == 1, "what was interrupted in the middle of a call has been let go"


PARENT = """
import json, sys, time
sys.path[:] = json.loads(sys.argv[2])
from tests.contract import test_child_pools
from tests.contract.test_child_pools import Bench, act
helpless = sys.argv[3] == "helpless"
if helpless:
    test_child_pools.ENTRY = "tests.contract.helpless:main"
on = Bench(sys.argv[1], 2)
on.do(None)
on.begin(act("nap", seconds=60) if helpless else act("stuck_in_regex"), act("nap", seconds=60))
while len(on.pool.running()) < 2:
    time.sleep(0.01)
print(json.dumps(on.pids()), flush=True)
time.sleep(60)
"""


@every_mode
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_child_outlives_its_parent(mode: str, number: signal.Signals) -> None:
    if mode != "process":
        needs(mode)
    outlive(mode, number, "")


def test_no_child_outlives_its_parent_where_the_system_does_not_see_to_it() -> None:
    outlive("process", signal.SIGKILL, "helpless")


def outlive(mode: str, number: signal.Signals, how: str) -> None:
    """End a parent by a signal, and wait for its children to end."""
    command = [sys.executable, "-c", PARENT, mode, json.dumps(sys.path), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            pids = json.loads(parent.stdout.readline())
            assert pids
            assert all(map(is_alive, pids))
        finally:
            parent.send_signal(number)
        wait_until(
            lambda: not any(map(is_alive, pids)), "the children to end, busy in C as they are"
        )
        with contextlib.suppress(ProcessLookupError):
            parent.kill()


@every_mode
def test_whatever_happens_each_job_ends_once_or_comes_back(
    bench: Callable[..., Bench], tmp_path: Path, mode: str
) -> None:
    """Random batches, interrupts, kills, changes of size and calls back: nothing is lost, nothing
    happens twice."""
    seed = int.from_bytes(os.urandom(4), "big")
    chance = random.Random(seed)
    notes = tmp_path / "notes"
    notes.touch()
    on = bench(mode, 3)
    submitted: list[str] = []
    back: list[str] = []

    def some_act(name: str) -> Act:
        if chance.random() < 0.02:
            return act("leave", code=1)
        nap = chance.choice([0.0] * 30 + [0.001, 0.02])
        return act("note", path=str(notes), text=name, seconds=nap)

    def in_hand() -> int:
        return len(submitted) - len(on.done) - len(back)

    for step in range(60):
        names = [f"{step}.{index}" for index in range(chance.choice([1, 5, 60]))]
        submitted += names
        on.pool.submit([Job(name, some_act(name)) for name in names])
        brisk = chance.random() < 0.8
        on.pool.nudge(brisk)
        what = chance.random()
        if what < 0.1:
            back += [job.task_id for job in on.pool.take_back()]
        elif what < 0.25:
            for job in on.pool.running()[:2]:
                on.pool.interrupt(job, TimeoutError)
        elif what < 0.3:
            on.pool.resize(chance.randint(1, 4))
        elif what < 0.33 and (pids := on.pids()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(pids), signal.SIGKILL)
        wait_until(lambda: in_hand() < 200, f"work to go on (seed {seed})", timeout=60.0)

    def over() -> bool:
        on.pool.nudge(True)
        return in_hand() <= 0

    wait_until(over, f"all to end (seed {seed})", timeout=60.0)
    done = [job.task_id for job in on.done]
    assert sorted([*done, *back]) == sorted(submitted), f"seed {seed}"
    assert (on.pool.pending(), on.pool.running()) == (0, [])
    noted = notes.read_text().split()
    assert len(noted) == len(set(noted)), f"none was made twice (seed {seed})"
    assert not set(noted) & set(back), f"what came back was not made (seed {seed})"
    assert {job.task_id for job in on.done if job.error is None} <= {*noted}, f"seed {seed}"
