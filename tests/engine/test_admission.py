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


class Desk:
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
def desk(says: Says) -> Desk:
    return Desk(says)


class TestMessages:
    def test_without_controls_all_pass(self) -> None:
        desk = Desk()
        (task,) = desk.admitter.receive([Delivery(b'{"x": 5}', None)])
        assert (task.arguments, task.extra, task.attempt, task.state) == ({"x": 5}, {}, 0, RUNNING)
        assert task.task_id, "one is made up"
        (task,) = desk.admitter.receive([Delivery(message("t", 5, attempts=2), None)])
        assert (task.task_id, task.attempt, task.plan) == ("t", 2, desk.plan)

    @pytest.mark.parametrize("attempts", ["2", -3, 1.5, True, None])
    def test_attempts_that_are_none_count_as_none(self, attempts: object) -> None:
        (task,) = Desk().admitter.receive([Delivery(message("t", attempts=attempts), None)])
        assert task.attempt == 0

    def test_what_no_call_can_be_made_of_is_refused_and_the_rest_passes(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        desk = Desk(max_deliveries=3)
        bad = [
            Delivery(b"[1]", None),
            Delivery(b'{"x": 1, "y": 2, "extra": {"task_id": "y"}}', None),
            Delivery(message("often", 1), None, deliveries=4),
            Delivery(message("own", 1, timeout="soon"), None),
        ]
        with caplog.at_level(logging.ERROR):
            passed = desk.admitter.receive([bad[0], *deliveries("a"), *bad[1:], *deliveries("b")])
        assert ids(passed) == ["a", "b"]
        assert [task.delivery for task in desk.ended] == bad
        assert {task.state for task in desk.ended} == {FAILED}
        reasons = [task.failure.error if task.failure else "" for task in desk.ended]
        for part, reason in zip(
            ["not an object", "'y'", "delivered 3 times", "'soon'"], reasons, strict=True
        ):
            assert part in reason
        assert ids(desk.ended)[1:] == ["y", "often", "own"]
        assert caplog.text.count("refused: ") == 4

    def test_a_message_with_options_of_its_own_has_a_plan_of_its_own(self) -> None:
        desk = Desk()
        own, plain = desk.admitter.receive([*deliveries("own", retries=9), *deliveries("plain")])
        assert own.plan.options.retries == 9
        assert plain.plan is desk.plan


class TestVerdicts:
    def test_each_verdict_has_its_outcome(self, desk: Desk, says: Says) -> None:
        says.verdicts = {
            "drop": Drop("expired"),
            "later": Later(desk.clock.at + 30),
            "past": Later(desk.clock.at - 5),
            "wait": WAIT,
        }
        assert desk.receive("a", "drop", "later", "wait", "past", "b") == ["a", "b"]
        assert desk.states() == {"drop": DROPPED, "later": REQUEUED, "past": REQUEUED}
        by_id = {task.task_id: task for task in desk.ended}
        assert by_id["drop"].failure is not None
        assert by_id["drop"].failure.error == "expired"
        assert (by_id["later"].delay, by_id["past"].delay) == (30.0, 0.0)
        assert desk.admitter.held == 1
        assert not desk.admitter.stuck
        assert [task.attempt for task in desk.ended] == [0, 0, 0], "admission is no attempt"

    def test_a_batch_is_asked_about_at_once(self, desk: Desk, says: Says) -> None:
        desk.receive("a", "b", "c")
        assert says.asked == [["a", "b", "c"]]

    def test_the_next_control_is_asked_about_what_the_first_let_pass(self) -> None:
        first, second = Says(), Says()
        desk = Desk(first, second)
        first.verdicts = {"a": Drop("no")}
        second.verdicts = {"b": WAIT}
        assert desk.receive("a", "b", "c") == ["c"]
        assert second.asked == [["b", "c"]]
        assert ids(desk.admitter.waiting) == ["b"]
        first.verdicts = {"d": WAIT}
        desk.receive("d")
        assert len(second.asked) == 1, "nobody is left to ask about"

    def test_who_waits_is_asked_about_again_when_something_has_ended_or_in_a_moment(
        self, desk: Desk, says: Says
    ) -> None:
        says.verdicts = {"a": WAIT, "b": WAIT}
        assert desk.receive("a", "b") == []
        assert desk.admitter.ask_at() == desk.clock.at + ASK_AGAIN
        says.verdicts = {"b": WAIT}
        assert desk.again() == [], "not yet"
        assert len(says.asked) == 1
        assert desk.again(stirred=True) == ["a"]
        assert says.asked[1] == ["a", "b"]
        assert desk.again(later=ASK_AGAIN * 0.9) == []
        says.verdicts = {}
        assert desk.again(later=ASK_AGAIN * 0.2) == ["b"]
        assert desk.admitter.held == 0
        assert desk.admitter.ask_at() == NEVER
        assert desk.again(stirred=True, later=10) == []
        assert desk.ended == []

    def test_when_too_many_wait_the_rest_goes_back_for_a_while(self, says: Says) -> None:
        desk = Desk(says, waiting_room=2)
        says.verdicts = dict.fromkeys("abcd", WAIT)
        assert desk.receive("a", "b", "c", "d", "e") == ["e"]
        assert ids(desk.admitter.waiting) == ["a", "b"]
        assert desk.states() == {"c": RELEASED, "d": RELEASED}
        assert all(BACK * 0.5 <= task.delay <= BACK * 1.5 for task in desk.ended)
        assert desk.again(stirred=True) == []
        assert ids(desk.admitter.waiting) == ["a", "b"], "those that waited keep their places"

    def test_what_it_holds_can_be_taken_back(self, desk: Desk, says: Says) -> None:
        says.verdicts = {"a": WAIT}
        desk.receive("a")
        says.away = True
        with pytest.raises(Unavailable):
            desk.receive("b")
        assert ids(desk.admitter.take_back()) == ["a", "b"]
        assert desk.admitter.held == 0
        assert desk.admitter.take_back() == []


class TestCancelled:
    def test_what_is_cancelled_does_not_start(self, desk: Desk, says: Says) -> None:
        desk.cancel.set(["b"])
        assert desk.receive("a", "b") == ["a"]
        assert desk.states() == {"b": CANCELLED}
        assert says.asked == [["a"]]

    def test_also_without_controls(self) -> None:
        desk = Desk()
        desk.cancel.set(["b"])
        assert desk.receive("a", "b") == ["a"]

    def test_nor_does_what_waited(self, desk: Desk, says: Says) -> None:
        says.verdicts = {"a": WAIT}
        desk.receive("a")
        desk.cancel.set(["a"])
        says.verdicts = {}
        assert desk.again(stirred=True) == []
        assert desk.states() == {"a": CANCELLED}

    def test_sift(self, desk: Desk) -> None:
        passed = desk.admitter.receive(deliveries("a", "b", "c"))
        desk.cancel.set(["b"])
        assert ids(desk.admitter.sift(passed)) == ["a", "c"]
        assert desk.states() == {"b": CANCELLED}


class TestOutage:
    def test_nothing_is_lost_and_all_is_asked_about_again(self, desk: Desk, says: Says) -> None:
        says.away = True
        with pytest.raises(Unavailable):
            desk.receive("a", "b")
        assert desk.admitter.stuck
        assert desk.admitter.held == 2
        with pytest.raises(Unavailable):
            desk.receive("c")
        with pytest.raises(Unavailable):
            desk.again()
        says.away = False
        assert desk.again() == ["a", "b", "c"]
        assert not desk.admitter.stuck
        assert desk.admitter.held == 0
        assert desk.ended == []

    def test_what_another_control_had_decided_stays_so(self) -> None:
        first, second = Says(), Says()
        desk = Desk(first, second)
        first.verdicts = {"drop": Drop("no"), "wait": WAIT}
        second.away = True
        with pytest.raises(Unavailable):
            desk.receive("drop", "wait", "a")
        assert desk.states() == {"drop": DROPPED}
        assert desk.admitter.held == 2
        second.away = False
        assert desk.again() == ["a"]
        assert ids(desk.admitter.waiting) == ["wait"]

    def test_those_of_other_plans_are_kept_too(self, says: Says) -> None:
        """Some have been let pass when the store goes away in the middle of a batch: they are asked
        about once more."""
        desk = Desk(says)
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
            desk.admitter.receive([*deliveries("a", "b"), *deliveries("own", retries=9)])
        assert desk.admitter.held == 3
        assert sorted(desk.again()) == ["a", "b", "own"]

    def test_whatever_happens_each_task_is_in_one_place(self) -> None:
        """At random: verdicts, outages and cancels; every task has passed, ended, or is held, and
        none twice."""
        chance = random.Random(3)
        controls = Says(), Says()
        desk = Desk(*controls, waiting_room=5)
        given, passed = 0, list[str]()
        for _ in range(500):
            for control in controls:
                control.away = chance.random() < 0.3
                known = [f"t{number}" for number in range(given + 5)]
                outcomes: list[Verdict] = [None, None, WAIT, Drop("no"), Later(0.0)]
                control.verdicts = {task_id: chance.choice(outcomes) for task_id in known[-40:]}
            if chance.random() < 0.1:
                desk.cancel.set([f"t{chance.randrange(given + 5)}"])
            try:
                if chance.random() < 0.5:
                    new = [f"t{number}" for number in range(given, given + chance.randrange(5))]
                    own, given = deliveries(*new[:2], retries=9), given + len(new)
                    passed += ids(desk.admitter.receive([*own, *deliveries(*new[2:])]))
                else:
                    passed += desk.again(stirred=chance.random() < 0.5, later=chance.random() / 5)
            except Unavailable:
                pass
            held = ids([*desk.admitter.waiting, *desk.admitter._unasked])
            assert len(held) == desk.admitter.held
            assert sorted([*passed, *ids(desk.ended), *held]) == sorted(
                f"t{number}" for number in range(given)
            )
            assert RUNNING not in desk.states().values()
        assert len(passed) > 50
        assert set(desk.states().values()) == {DROPPED, REQUEUED, RELEASED, CANCELLED}
