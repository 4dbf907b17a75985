"""What `fb chaos` counts: from given records to the verdict, each kind of loss and repetition; and
the parts that make the trial."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fbcli.chaos import report as reporting
from fbcli.chaos.analysis import (
    RETURN_SECONDS,
    SETTLING,
    Account,
    Duplicates,
    analyse,
    percentile,
)
from fbcli.chaos.ledger import (
    CALLS,
    FOLDER,
    PUSHES,
    BrokerOutage,
    Buried,
    Evidence,
    Execution,
    Kill,
    Ledger,
    Push,
    note,
)
from fbcli.chaos.outages import Outages
from fbcli.chaos.plan import END, KILLER, POISON, TrialPlan, TrialTask
from fbcli.chaos.processes import RandomKills, descendants, kill_child
from fbcli.chaos.report import Progress, TrialReport
from fbcli.errors import FbError, UsageError
from tests.servers import wait_until

HERE, THERE = 11, 22
"""Process ids of two consumers."""


class Case:
    """Evidence put together step by step. Tasks 0 to 4 are ordinary, 5 is poison, 6 a killer; all
    pushed at 0 and confirmed."""

    def __init__(self) -> None:
        self.tasks = [TrialTask(number, 0.5) for number in range(5)] + [
            TrialTask(5, 0.5, POISON),
            TrialTask(6, 0.5, KILLER),
        ]
        self.pushes = {task.number: Push(1, 0.0) for task in self.tasks}
        self.calls: dict[int, list[Execution]] = {}
        self.kills: list[Kill] = []
        self.outages: list[BrokerOutage] = []
        self.buried: list[Buried] = []

    def call(
        self, number: int, pid: int, begun: float, how: str = "", at: float | None = None
    ) -> None:
        """`how`: ended, failed or killed, `at` or else half a second later; empty: it was cut
        short."""
        fate = self.tasks[number].fate if number < len(self.tasks) else END
        call = Execution(number, pid, begun, fate, 0.5)
        if how:
            setattr(call, how, begun + 0.5 if at is None else at)
        self.calls.setdefault(number, []).append(call)

    def all_well(self, *, but: tuple[int, ...] = ()) -> None:
        """Each task meets its fate."""
        for task in self.tasks:
            if task.number in but:
                continue
            if task.fate == END:
                self.call(task.number, HERE, 1.0, "ended")
            elif task.fate == POISON:
                self.call(task.number, HERE, 1.0, "failed")
            if task.fate != END:
                self.buried.append(Buried(task.number, 1 if task.fate == POISON else 21))

    def analyse(self) -> Account:
        return analyse(
            Evidence(self.tasks, self.calls, self.pushes, self.kills, self.outages, self.buried)
        )


@pytest.fixture
def case() -> Case:
    return Case()


# what is lost


def test_all_well(case: Case) -> None:
    case.all_well()
    account = case.analyse()
    assert account.sound
    assert (account.tasks, account.confirmed, account.ended, account.lost, account.duplicated) == (
        7,
        7,
        5,
        0,
        0,
    )
    assert (account.poison.confirmed, account.poison.buried, account.killers.buried) == (1, 1, 1)
    assert account.throughput == 10.0
    assert account.recovery.calls == account.recovery.again == 0
    assert account.recovery.p50 is None


def test_confirmed_and_never_executed_is_lost(case: Case) -> None:
    case.all_well(but=(3, 1))
    account = case.analyse()
    assert (account.lost, account.lost_tasks, account.sound) == (2, [1, 3], False)


def test_begun_and_never_ended_is_lost(case: Case) -> None:
    case.all_well(but=(1,))
    case.call(1, HERE, 1.0)
    assert case.analyse().lost_tasks == [1]


def test_unconfirmed_and_never_seen_is_not_lost(case: Case) -> None:
    case.all_well(but=(2,))
    case.pushes[2] = Push(3, None)
    account = case.analyse()
    assert (account.confirmed, account.lost, account.doubtful, account.sound) == (6, 0, 1, True)


def test_unconfirmed_and_executed_is_neither_lost_nor_wrong(case: Case) -> None:
    case.all_well()
    case.pushes[2] = Push(1, None)
    account = case.analyse()
    assert (account.confirmed, account.ended, account.lost, account.wrongly_executed) == (
        6,
        4,
        0,
        0,
    )


@pytest.mark.parametrize(("number", "which"), [(5, "poison"), (6, "killers")])
def test_a_dead_letter_that_is_missing_is_lost(case: Case, number: int, which: str) -> None:
    case.all_well()
    case.buried = [letter for letter in case.buried if letter.number != number]
    account = case.analyse()
    assert getattr(account, which).missing == 1
    assert (account.lost_tasks, account.sound) == ([number], False)


# what is where it does not belong


@pytest.mark.parametrize(
    "letter", [Buried(2, 1), Buried(2, None), Buried(2, 20), Buried(99, 30), Buried(None, None)]
)
def test_a_dead_letter_that_should_not_be_there(case: Case, letter: Buried) -> None:
    case.all_well()
    case.buried.append(letter)
    account = case.analyse()
    assert (account.misplaced, account.worn_out, account.sound) == (1, 0, False)


def test_a_task_whose_workers_died_too_often_is_neither_lost_nor_misplaced(case: Case) -> None:
    case.all_well(but=(2,))
    case.buried.append(Buried(2, 21))
    account = case.analyse()
    assert (account.worn_out, account.misplaced, account.lost, account.sound) == (1, 0, 0, True)
    assert reporting.verdict(report_of(account)).endswith(
        "; 1 task put aside, with too many dead workers."
    )


def test_calls_that_nobody_asked_for(case: Case) -> None:
    case.all_well()
    case.call(99, HERE, 2.0, "ended")
    del case.pushes[4]
    case.calls[3][0].seconds = 0.7
    case.calls[5][0].fate = END
    account = case.analyse()
    assert (account.wrongly_executed, account.sound) == (4, False)


# what ran twice


def test_an_end_in_flight_at_a_kill_is_explained(case: Case) -> None:
    case.all_well(but=(1, 2, 3))
    for number in (1, 2, 3):
        case.call(number, HERE, 1.0, "ended", 2.0)
        case.call(number, THERE, 9.0, "ended")
    case.kills = [Kill(2.0 + SETTLING, frozenset([HERE]), "consumer")]
    account = case.analyse()
    assert account.duplicates == Duplicates(killed=3)
    assert (account.duplicated, account.lost, account.sound) == (3, 0, True)


@pytest.mark.parametrize(
    "kill",
    [
        Kill(2.1 + SETTLING, frozenset([HERE]), "consumer"),
        Kill(2.0, frozenset([THERE]), "consumer"),
    ],
)
def test_a_kill_long_after_or_of_another_explains_nothing(case: Case, kill: Kill) -> None:
    case.all_well(but=(1,))
    case.call(1, HERE, 1.0, "ended", 2.0)
    case.call(1, THERE, 9.0, "ended")
    case.kills = [kill]
    account = case.analyse()
    assert account.duplicates == Duplicates(unexplained=1)
    assert account.sound, "at least once is what is promised"


@pytest.mark.parametrize(
    ("outage", "explained"),
    [
        (BrokerOutage(1.5, 1.7), True),
        (BrokerOutage(2.0 + SETTLING, 30.0), True),
        (BrokerOutage(0.0, 1.1 - RETURN_SECONDS), True),
        (BrokerOutage(2.1 + SETTLING, 30.0), False),
        (BrokerOutage(-20.0, 0.9 - RETURN_SECONDS), False),
    ],
)
def test_an_end_in_flight_at_an_outage_is_explained(
    case: Case, outage: BrokerOutage, explained: bool
) -> None:
    case.all_well(but=(1,))
    case.call(1, HERE, 1.0, "ended", 2.0)
    case.call(1, HERE, 40.0, "ended")
    case.outages = [outage]
    account = case.analyse()
    assert account.duplicates == (Duplicates(outage=1) if explained else Duplicates(unexplained=1))
    assert (account.outages, account.outage_seconds) == (
        1,
        pytest.approx(outage.ended - outage.began),
    )


def test_pushed_twice_explains_one_more_end_and_not_two(case: Case) -> None:
    case.all_well()
    for number, ends in ((1, 1), (2, 2)):
        case.pushes[number].tries = 2
        for end in range(ends):
            case.call(number, THERE, 20.0 + end, "ended")
    assert case.analyse().duplicates == Duplicates(pushed_twice=1, unexplained=1)


def test_twice_for_no_reason(case: Case) -> None:
    case.all_well()
    case.call(1, HERE, 1.0, "ended")
    account = case.analyse()
    assert (account.duplicated, account.duplicates.unexplained) == (1, 1)


def test_cut_short_and_run_again_is_no_duplicate(case: Case) -> None:
    case.all_well(but=(1,))
    case.call(1, HERE, 1.0)
    case.call(1, THERE, 3.0, "ended")
    case.kills = [Kill(1.2, frozenset([HERE]), "consumer")]
    account = case.analyse()
    assert (account.duplicated, account.released, account.deliveries) == (0, 1, 7)


def test_further_attempts_in_the_same_hands_are_no_deliveries(case: Case) -> None:
    case.all_well(but=(5,))
    for begun in (1.0, 2.0, 3.0):
        case.call(5, HERE, begun, "failed")
    case.call(5, THERE, 4.0, "failed")
    case.buried.append(Buried(5, 2))
    assert case.analyse().deliveries == 5 + 2


# recovery and kills


def test_recovery_is_from_the_kill_to_the_next_begin(case: Case) -> None:
    case.all_well(but=(0, 1, 2, 3))
    for number, again in ((0, 3.0), (1, 4.0), (2, 6.0)):
        case.call(number, HERE, 1.0)
        case.call(number, THERE, again, "ended")
        case.call(number, THERE, again + 1, "ended")
    case.call(3, HERE, 1.0)
    case.call(4, THERE, 1.0)
    case.kills = [Kill(2.0, frozenset([HERE, 12]), "consumer")]
    recovery = case.analyse().recovery
    assert (recovery.calls, recovery.again) == (4, 3)
    assert (recovery.p50, recovery.p99, recovery.max) == (2.0, 4.0, 4.0)


def test_what_had_ended_at_the_kill_needs_no_recovery(case: Case) -> None:
    case.all_well()
    case.kills = [Kill(2.0, frozenset([HERE]), "consumer")]
    assert case.analyse().recovery.calls == 0


def test_a_task_that_kills_takes_others_with_it(case: Case) -> None:
    case.all_well(but=(1,))
    case.call(6, HERE, 1.0, "killed", 1.5)
    case.call(1, HERE, 1.4)
    case.call(1, THERE, 3.0, "ended")
    case.kills = [
        Kill(1.6, frozenset([HERE]), "itself"),
        Kill(1.7, frozenset([33]), "itself"),
        Kill(1.8, frozenset([44]), "consumer"),
        Kill(1.9, frozenset([55]), "producer"),
    ]
    account = case.analyse()
    kills = account.kills
    assert (kills.by_tasks, kills.ended_themselves, kills.consumers, kills.producers) == (
        1,
        1,
        1,
        1,
    )
    assert (account.recovery.calls, account.recovery.again, account.recovery.max) == (2, 1, 1.5)


@pytest.mark.parametrize(
    ("values", "percent", "found"),
    [([], 50, None), ([1.0], 99, 1.0), ([1.0, 2.0], 50, 1.0), ([*range(1, 101)], 99, 99)],
)
def test_percentiles_are_of_the_nearest_rank(
    values: list[float], percent: float, found: float | None
) -> None:
    assert percentile(values, percent) == found


# in words


def report_of(account: Account, **changes: Any) -> TrialReport:
    known = {
        "broker": "redis://h",
        "queue": "q",
        "seed": 7,
        "seconds": 12.5,
        "timed_out": False,
        "left_in_queue": 0,
        "ledger": None,
    }
    return TrialReport(account=account, **{**known, **changes})


def test_the_answer(case: Case) -> None:
    case.all_well()
    report = report_of(case.analyse())
    assert reporting.verdict(report) == "Nothing lost: 7 tasks, 0 kills."
    shown = {what: (count, remark) for what, count, remark in reporting.rows(report)}
    assert shown["lost"][0] == "0"
    assert shown["poison"] == ("1", "tasks that fail for good: of 1 in the dead letters")
    assert "misplaced" not in shown
    figures = reporting.figures(report)
    assert (figures["lost"], figures["sound"], figures["recovery"]["p99"]) == (0, True, None)


def test_the_answer_when_something_is_wrong(case: Case) -> None:
    case.all_well(but=(1, 5))
    case.buried.append(Buried(2, 1))
    case.call(99, HERE, 1.0, "ended")
    report = report_of(case.analyse(), left_in_queue=3)
    assert reporting.verdict(report).startswith(
        "2 of 7 tasks lost, 1 dead letter too many, 1 call that nobody asked for: "
    )
    shown = {what: (count, remark) for what, count, remark in reporting.rows(report)}
    assert shown["lost"][0] == "2"
    assert "1, 5; the queue still holds 3 messages" in shown["lost"][1]
    assert shown["poison"][1].endswith(", 1 missing")
    assert shown["misplaced"][0] == "1"


def test_when_time_was_up_nothing_is_known_to_be_lost(case: Case) -> None:
    case.all_well(but=(1,))
    case.pushes[2] = Push(1, None)
    report = report_of(case.analyse(), timed_out=True)
    assert reporting.figures(report)["lost"] is None
    assert "2 tasks not accounted for" in reporting.verdict(report)


def test_the_line_while_it_goes_on() -> None:
    progress = Progress(
        tasks=5000, confirmed=1200, ended=900, kills=1, outages=2, away=True, killing=True
    )
    assert (
        reporting.line(progress)
        == "1,200 of 5,000 pushed · 900 done · 1 kill · 2 outages · the broker is away"
    )


# the ledger


def test_the_ledger_reads_what_is_new_and_leaves_half_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    ledger = Ledger(tmp_path)
    assert not ledger.read()
    note(CALLS, "begin", 7, 0, 10.5, END, 0.25)
    note(CALLS, "begin", 8, 1, 10.6, POISON, 0.25)
    note(CALLS, "end", 7, 0, 11.0)
    note(PUSHES, "try", "7,8", 9.0)
    note(PUSHES, "try", "8", 9.1)
    note(PUSHES, "sure", "7,8", 9.2)
    (file,) = (tmp_path / CALLS).iterdir()
    with open(file, "ab") as writer:
        writer.write(b"fail 8 1 12.")
    assert ledger.read()
    assert not ledger.read()
    assert ledger.calls[7] == [Execution(7, os.getpid(), 10.5, END, 0.25, ended=11.0)]
    assert ledger.calls[8][0].cut
    assert (ledger.ended, ledger.confirmed, ledger.at_work) == ({7}, {7, 8}, {os.getpid()})
    assert ledger.pushes == {7: Push(1, 9.2), 8: Push(2, 9.2)}
    with open(file, "ab") as writer:
        writer.write(b"5\n")
    assert ledger.read()
    assert ledger.calls[8][0].failed == 12.5


def test_two_calls_of_one_task_in_one_process_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    ledger = Ledger(tmp_path)
    for call in (0, 1):
        note(CALLS, "begin", 7, call, 10.0 + call, END, 0.25)
    note(CALLS, "end", 7, 0, 12.0)
    ledger.read()
    assert [call.ended for call in ledger.calls[7]] == [12.0, None]


# the plan


def test_the_seed_decides_all(case: Case) -> None:
    plan = TrialPlan(seed=3, tasks=1000, poison=0.5, killers=2)
    tasks = plan.make_tasks()
    assert (
        tasks
        == plan.make_tasks()
        != TrialPlan(seed=4, tasks=1000, poison=0.5, killers=2).make_tasks()
    )
    assert [task.number for task in tasks] == list(range(1000))
    assert [sum(task.fate == fate for task in tasks) for fate in (END, POISON, KILLER)] == [
        993,
        5,
        2,
    ]
    assert all(0.005 <= task.seconds <= 0.05 for task in tasks)


@pytest.mark.parametrize(
    "changes",
    [
        {"pause_command": "x"},
        {"resume_command": "x"},
        {"restart_command": "x", "pause_command": "y", "resume_command": "z"},
        {"tasks": 10, "poison": 100, "killers": 1},
        {"heartbeat": 0.01},
    ],
)
def test_plans_that_make_no_sense(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        TrialPlan(seed=1, **changes).check()


# who is killed when


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    monotonic = now


def test_the_reaper_kills_about_as_often_as_told_and_producers_now_and_then() -> None:
    clock, killed = Time(), []

    def kill(who: str, there: bool = True) -> Any:
        return lambda chance: killed.append(who) or there

    kills = RandomKills(0.5, kill("consumer"), kill("producer"), random.Random(1), clock)
    for _ in range(100_000):
        clock.time += 0.01
        kills.tick()
    assert 1800 < len(killed) < 2100
    assert all(killed[i : i + 3].count("producer") == 1 for i in range(0, len(killed) - 3, 3))


def life_after_nobody(seed: int) -> float:
    """Return how long the first one lives who comes to work after ten seconds without anybody."""
    clock, there, killed = Time(), [False], [False]

    def kill(chance: random.Random) -> bool:
        killed[0] = there[0]
        return there[0]

    kills = RandomKills(0.5, kill, lambda chance: False, random.Random(seed), clock)
    for step in range(10_000):
        there[0] = step >= 1000
        clock.time += 0.01
        kills.tick()
        if killed[0]:
            break
    return clock.time - 110.0


def test_whoever_comes_when_nobody_was_at_work_lives_as_long_as_the_others() -> None:
    lives = [life_after_nobody(seed) for seed in range(500)]
    assert 0.4 < sum(lives) / len(lives) < 0.6


def test_nobody_is_killed_when_that_is_wanted() -> None:
    clock = Time()
    kills = RandomKills(
        0.0,
        lambda chance: pytest.fail("killed"),
        lambda chance: pytest.fail("killed"),
        random.Random(1),
        clock,
    )
    clock.time += 1e6
    kills.tick()


def test_a_tree_is_killed_to_its_last_leaf_and_nobody_else() -> None:
    sleeper = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time;"
        " time.sleep(60)']); time.sleep(60)"
    )
    tree = subprocess.Popen([sys.executable, "-c", sleeper], start_new_session=True)
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        wait_until(lambda: bool(descendants(tree.pid)), "the child to be there")
        child = descendants(tree.pid)[0]
        assert other.pid in descendants(os.getpid())
        assert kill_child(tree) == [tree.pid, child]
        assert tree.returncode == -signal.SIGKILL
        wait_until(lambda: child not in descendants(1) and not _runs(child), "the child to be gone")
        assert other.poll() is None
        assert kill_child(tree) == [], "it has ended"
    finally:
        other.kill()
        other.wait()


def _runs(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


# outages


def outages(tmp_path: Path, **plan: Any) -> tuple[Outages, Time]:
    clock = Time()
    return (
        Outages(TrialPlan(seed=1, outage_every=10.0, **plan), tmp_path, random.Random(1), clock),
        clock,
    )


def until(outages: Outages, clock: Time, condition: Any, *, begin: bool = True) -> None:
    """Let the outages go on, in the test's own time, until a condition holds."""

    def tick() -> bool:
        clock.time += 0.05
        outages.tick(begin=begin)
        return bool(condition())

    wait_until(tick, "the outage to go on")


def test_the_broker_is_paused_and_resumed(tmp_path: Path) -> None:
    did = tmp_path / "did"
    there, clock = outages(
        tmp_path, pause_command=f"echo p >> {did}", resume_command=f"echo r >> {did}", outage=3.0
    )
    for _ in range(90):
        there.tick(begin=True)
        clock.time += 0.05
    assert not there.away, "not in the first five seconds"
    until(there, clock, lambda: there.away)
    until(there, clock, lambda: did.exists() and not there.away, begin=False)
    assert did.read_text() == "p\nr\n"
    (outage,) = there.done
    assert outage.ended - outage.began >= 3.0
    clock.time += 100.0
    there.tick(begin=False)
    assert not there.away
    there.end()
    assert did.read_text() == "p\nr\n"


def test_at_the_end_a_paused_broker_is_resumed_once(tmp_path: Path) -> None:
    did = tmp_path / "did"
    there, clock = outages(
        tmp_path, pause_command=f"echo p >> {did}", resume_command=f"echo r >> {did}", outage=1e6
    )
    until(there, clock, did.exists)
    there.end()
    there.end()
    assert did.read_text() == "p\nr\n"


def test_a_command_that_fails_ends_the_trial(tmp_path: Path) -> None:
    there, clock = outages(tmp_path, restart_command="echo 'no such service'; exit 3")
    with pytest.raises(FbError, match=r"exit code 3.\sno such service"):
        until(there, clock, lambda: there.done)


def test_a_restart_is_an_outage_as_long_as_its_command(tmp_path: Path) -> None:
    go = tmp_path / "go"
    there, clock = outages(tmp_path, restart_command=f"while ! test -e {go}; do sleep 0.01; done")
    until(there, clock, lambda: there.away)
    began = time.monotonic()
    until(there, clock, lambda: time.monotonic() - began > 0.05)
    assert there.away
    go.touch()
    until(there, clock, lambda: there.done, begin=False)
    assert not there.away
