"""From deliveries to tasks that may run: what waits, goes back, is dropped, and what an outage of
the store costs: nothing."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from typing import Any

import pytest

from fbcli.broker import Delivery
from fbcli.controls.base import NEVER, Admission, Drop, Later, Verdict, Wait
from fbcli.controls.cancel import Cancel
from fbcli.engine.admission import ASK_AGAIN, BACK, Admitter
from fbcli.engine.plan import Plan
from fbcli.errors import BadMessage, Unavailable
from fbcli.task import CANCELLED, DROPPED, FAILED, RELEASED, REQUEUED, RUNNING, Task
from tests.engine.factories import Clock, deliveries, ids, message, plan

WAIT = Wait("another one runs")


class Says(Admission):
    """Gives the verdicts that the test puts in, by task id; raises while it is `away`."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Verdict] = {}
        self.away = False
        self.asked: list[list[str]] = []

    def admit(self, tasks: Sequence[Task], now: float) -> Sequence[Verdict]:
        self.asked.append(ids(tasks))
        if self.away:
            raise Unavailable("the store is away")
        return [self.verdicts.get(task.task_id) for task in tasks]


class AdmissionBench:
    """A admitter, what it asks, and what did not get through."""

    def __init__(self, *controls: Says, waiting_room: int = 100, **options: Any) -> None:
        self.controls = controls
        self.plan = plan(admissions=controls, **options)
        self.clock, self.cancel = Clock(), Cancel()
        self.ended: list[Task] = []
        self.admitter = Admitter(
            self.plan,
            self.plan_for,
            self.cancel,
            self.ended.append,
            self.clock,
            waiting_room=waiting_room,
        )

    def plan_for(self, extra: dict[str, Any]) -> Plan:
        if extra.get("timeout") == "soon":
            raise BadMessage("'soon' is no timeout")
        return plan(admissions=self.controls, retries=9)

    def receive(self, *task_ids: str, **extra: Any) -> list[str]:
        return ids(self.admitter.receive(deliveries(*task_ids, **extra)))

    def again(self, *, stirred: bool = False, later: float = 0.0) -> list[str]:
        self.clock.at += later
        if stirred:
            self.admitter.learn([], self.clock.at)
        return ids(self.admitter.again(self.clock.at))

    def states(self) -> dict[str, int]:
        return {task.task_id: task.state for task in self.ended}


@pytest.fixture
def says() -> Says:
    return Says()


@pytest.fixture
def bench(says: Says) -> AdmissionBench:
    return AdmissionBench(says)


class TestMessages:
    def test_without_controls_all_pass(self) -> None:
        bench = AdmissionBench()
        (task,) = bench.admitter.receive([Delivery(b'{"x": 5}', None)])
        assert (task.arguments, task.extra, task.attempt, task.state) == ({"x": 5}, {}, 0, RUNNING)
        assert task.task_id, "one is made up"
        (task,) = bench.admitter.receive([Delivery(message("t", 5, attempts=2), None)])
        assert (task.task_id, task.attempt, task.plan) == ("t", 2, bench.plan)

    @pytest.mark.parametrize("attempts", ["2", -3, 1.5, True, None])
    def test_attempts_that_are_none_count_as_none(self, attempts: object) -> None:
        (task,) = AdmissionBench().admitter.receive(
            [Delivery(message("t", attempts=attempts), None)]
        )
        assert task.attempt == 0

    def test_what_no_call_can_be_made_of_is_refused_and_the_rest_passes(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench = AdmissionBench(max_deliveries=3)
        bad = [
            Delivery(b"[1]", None),
            Delivery(b'{"x": 1, "y": 2, "extra": {"task_id": "y"}}', None),
            Delivery(message("often", 1), None, deliveries=4),
            Delivery(message("own", 1, timeout="soon"), None),
        ]
        with caplog.at_level(logging.ERROR):
            passed = bench.admitter.receive([bad[0], *deliveries("a"), *bad[1:], *deliveries("b")])
        assert ids(passed) == ["a", "b"]
        assert [task.delivery for task in bench.ended] == bad
        assert {task.state for task in bench.ended} == {FAILED}
        reasons = [task.failure.error if task.failure else "" for task in bench.ended]
        for part, reason in zip(
            ["not an object", "'y'", "delivered 3 times", "'soon'"], reasons, strict=True
        ):
            assert part in reason
        assert ids(bench.ended)[1:] == ["y", "often", "own"]
        assert caplog.text.count("refused: ") == 4

    def test_a_message_with_options_of_its_own_has_a_plan_of_its_own(self) -> None:
        bench = AdmissionBench()
        own, plain = bench.admitter.receive([*deliveries("own", retries=9), *deliveries("plain")])
        assert own.plan.options.retries == 9
        assert plain.plan is bench.plan


class TestVerdicts:
    def test_each_verdict_has_its_outcome(self, bench: AdmissionBench, says: Says) -> None:
        says.verdicts = {
            "drop": Drop("expired"),
            "later": Later(bench.clock.at + 30),
            "past": Later(bench.clock.at - 5),
            "wait": WAIT,
        }
        assert bench.receive("a", "drop", "later", "wait", "past", "b") == ["a", "b"]
        assert bench.states() == {"drop": DROPPED, "later": REQUEUED, "past": REQUEUED}
        by_id = {task.task_id: task for task in bench.ended}
        assert by_id["drop"].failure is not None
        assert by_id["drop"].failure.error == "expired"
        assert (by_id["later"].delay, by_id["past"].delay) == (30.0, 0.0)
        assert bench.admitter.held == 1
        assert not bench.admitter.stuck
        assert [task.attempt for task in bench.ended] == [0, 0, 0], "admission is no attempt"

    def test_a_batch_is_asked_about_at_once(self, bench: AdmissionBench, says: Says) -> None:
        bench.receive("a", "b", "c")
        assert says.asked == [["a", "b", "c"]]

    def test_the_next_control_is_asked_about_what_the_first_let_pass(self) -> None:
        first, second = Says(), Says()
        bench = AdmissionBench(first, second)
        first.verdicts = {"a": Drop("no")}
        second.verdicts = {"b": WAIT}
        assert bench.receive("a", "b", "c") == ["c"]
        assert second.asked == [["b", "c"]]
        assert ids(bench.admitter.waiting) == ["b"]
        first.verdicts = {"d": WAIT}
        bench.receive("d")
        assert len(second.asked) == 1, "nobody is left to ask about"

    def test_who_waits_is_asked_about_again_when_something_has_ended_or_in_a_moment(
        self, bench: AdmissionBench, says: Says
    ) -> None:
        says.verdicts = {"a": WAIT, "b": WAIT}
        assert bench.receive("a", "b") == []
        assert bench.admitter.ask_at() == bench.clock.at + ASK_AGAIN
        says.verdicts = {"b": WAIT}
        assert bench.again() == [], "not yet"
        assert len(says.asked) == 1
        assert bench.again(stirred=True) == ["a"]
        assert says.asked[1] == ["a", "b"]
        assert bench.again(later=ASK_AGAIN * 0.9) == []
        says.verdicts = {}
        assert bench.again(later=ASK_AGAIN * 0.2) == ["b"]
        assert bench.admitter.held == 0
        assert bench.admitter.ask_at() == NEVER
        assert bench.again(stirred=True, later=10) == []
        assert bench.ended == []

    def test_when_too_many_wait_the_rest_goes_back_for_a_while(self, says: Says) -> None:
        bench = AdmissionBench(says, waiting_room=2)
        says.verdicts = dict.fromkeys("abcd", WAIT)
        assert bench.receive("a", "b", "c", "d", "e") == ["e"]
        assert ids(bench.admitter.waiting) == ["a", "b"]
        assert bench.states() == {"c": RELEASED, "d": RELEASED}
        assert all(BACK * 0.5 <= task.delay <= BACK * 1.5 for task in bench.ended)
        assert bench.again(stirred=True) == []
        assert ids(bench.admitter.waiting) == ["a", "b"], "those that waited keep their places"

    def test_what_it_holds_can_be_taken_back(self, bench: AdmissionBench, says: Says) -> None:
        says.verdicts = {"a": WAIT}
        bench.receive("a")
        says.away = True
        with pytest.raises(Unavailable):
            bench.receive("b")
        assert ids(bench.admitter.take_back()) == ["a", "b"]
        assert bench.admitter.held == 0
        assert bench.admitter.take_back() == []


class TestCancelled:
    def test_what_is_cancelled_does_not_start(self, bench: AdmissionBench, says: Says) -> None:
        bench.cancel.set(["b"])
        assert bench.receive("a", "b") == ["a"]
        assert bench.states() == {"b": CANCELLED}
        assert says.asked == [["a"]]

    def test_also_without_controls(self) -> None:
        bench = AdmissionBench()
        bench.cancel.set(["b"])
        assert bench.receive("a", "b") == ["a"]

    def test_nor_does_what_waited(self, bench: AdmissionBench, says: Says) -> None:
        says.verdicts = {"a": WAIT}
        bench.receive("a")
        bench.cancel.set(["a"])
        says.verdicts = {}
        assert bench.again(stirred=True) == []
        assert bench.states() == {"a": CANCELLED}

    def test_sift(self, bench: AdmissionBench) -> None:
        passed = bench.admitter.receive(deliveries("a", "b", "c"))
        bench.cancel.set(["b"])
        assert ids(bench.admitter.sift(passed)) == ["a", "c"]
        assert bench.states() == {"b": CANCELLED}


class TestOutage:
    def test_nothing_is_lost_and_all_is_asked_about_again(
        self, bench: AdmissionBench, says: Says
    ) -> None:
        says.away = True
        with pytest.raises(Unavailable):
            bench.receive("a", "b")
        assert bench.admitter.stuck
        assert bench.admitter.held == 2
        with pytest.raises(Unavailable):
            bench.receive("c")
        with pytest.raises(Unavailable):
            bench.again()
        says.away = False
        assert bench.again() == ["a", "b", "c"]
        assert not bench.admitter.stuck
        assert bench.admitter.held == 0
        assert bench.ended == []

    def test_what_another_control_had_decided_stays_so(self) -> None:
        first, second = Says(), Says()
        bench = AdmissionBench(first, second)
        first.verdicts = {"drop": Drop("no"), "wait": WAIT}
        second.away = True
        with pytest.raises(Unavailable):
            bench.receive("drop", "wait", "a")
        assert bench.states() == {"drop": DROPPED}
        assert bench.admitter.held == 2
        second.away = False
        assert bench.again() == ["a"]
        assert ids(bench.admitter.waiting) == ["wait"]

    def test_those_of_other_plans_are_kept_too(self, says: Says) -> None:
        """Some have been let pass when the store goes away in the middle of a batch: they are asked
        about once more."""
        bench = AdmissionBench(says)
        calls = 0
        admit = says.admit

        def fails_at_second(tasks: Sequence[Task], now: float) -> Sequence[Verdict]:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise Unavailable("the store is away")
            return admit(tasks, now)

        says.admit = fails_at_second  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            bench.admitter.receive([*deliveries("a", "b"), *deliveries("own", retries=9)])
        assert bench.admitter.held == 3
        assert sorted(bench.again()) == ["a", "b", "own"]

    def test_whatever_happens_each_task_is_in_one_place(self) -> None:
        """At random: verdicts, outages and cancels; every task has passed, ended, or is held, and
        none twice."""
        chance = random.Random(3)
        controls = Says(), Says()
        bench = AdmissionBench(*controls, waiting_room=5)
        given, passed = 0, list[str]()
        for _ in range(500):
            for control in controls:
                control.away = chance.random() < 0.3
                known = [f"t{number}" for number in range(given + 5)]
                outcomes: list[Verdict] = [None, None, WAIT, Drop("no"), Later(0.0)]
                control.verdicts = {task_id: chance.choice(outcomes) for task_id in known[-40:]}
            if chance.random() < 0.1:
                bench.cancel.set([f"t{chance.randrange(given + 5)}"])
            try:
                if chance.random() < 0.5:
                    new = [f"t{number}" for number in range(given, given + chance.randrange(5))]
                    own, given = deliveries(*new[:2], retries=9), given + len(new)
                    passed += ids(bench.admitter.receive([*own, *deliveries(*new[2:])]))
                else:
                    passed += bench.again(stirred=chance.random() < 0.5, later=chance.random() / 5)
            except Unavailable:
                pass
            held = ids([*bench.admitter.waiting, *bench.admitter._unasked])
            assert len(held) == bench.admitter.held
            assert sorted([*passed, *ids(bench.ended), *held]) == sorted(
                f"t{number}" for number in range(given)
            )
            assert RUNNING not in bench.states().values()
        assert len(passed) > 50
        assert set(bench.states().values()) == {DROPPED, REQUEUED, RELEASED, CANCELLED}
