"""Gates taken together: the narrowest decides, and a gate that is replaced is closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fbcli.controls.base import NEVER, OPEN, Gate, Opening
from fbcli.controls.rate import Rate
from fbcli.engine.gates import Gates
from fbcli.task import Task
from tests.engine.factories import plan, tasks


@dataclass(eq=False)
class Door(Gate):
    """A gate that is as open as the test says, and writes down what it is told."""

    room: Opening = OPEN
    start: Opening = OPEN
    shut: bool = False
    paces: bool = False  # type: ignore[misc]
    asked: list[int] = field(default_factory=list)
    counted: list[int] = field(default_factory=list)
    learnt: list[Task] = field(default_factory=list)
    ended: int = 0

    def fetchable(self, now: float) -> Opening:
        return self.room

    def startable(self, now: float, wanted: int) -> Opening:
        self.asked.append(wanted)
        return self.start

    def started(self, count: int, now: float) -> None:
        self.counted.append(count)

    def closed(self, now: float) -> bool:
        return self.shut

    def learn(self, tasks: Sequence[Task], now: float) -> None:
        self.learnt += tasks

    def close(self) -> None:
        self.ended += 1


def test_without_gates_everything_may_pass() -> None:
    gates = Gates()
    assert gates.fetchable(0.0, 0).room > 1_000_000
    assert gates.startable(0.0, 7) == Opening(7, NEVER)
    assert not gates.closed(0.0)
    assert not gates.paces
    gates.started(1, 0.0)
    gates.learn([], 0.0)
    gates.close()


def test_the_narrowest_says_how_much_and_when_to_ask_again() -> None:
    gates = Gates([Door(Opening(9, 50.0)), Door(Opening(3, 20.0)), Door(Opening(5, 1.0))])
    assert gates.fetchable(0.0, 0) == Opening(3, 20.0)


def test_a_pacer_counts_only_what_has_not_started() -> None:
    """Slow calls that run do not keep the next ones from being there in time."""
    pacer = Door(Opening(3, 20.0), paces=True)
    assert Gates([pacer]).fetchable(0.0, 5) == Opening(8, 20.0)
    assert Gates([pacer]).fetchable(0.0, 5, unit=10) == Opening(35, 20.0), (
        "each start takes ten messages"
    )
    assert Gates([pacer, Door(Opening(4, 1.0))]).fetchable(0.0, 5) == Opening(4, 1.0), (
        "any other counts all that is held"
    )


def test_one_that_is_shut_shuts_all() -> None:
    door = Door()
    gates = Gates([Door(), door])
    assert not gates.closed(0.0)
    door.shut = True
    assert gates.closed(0.0)


def test_only_pacers_have_a_say_in_starts() -> None:
    plain, first, second = (
        Door(start=Opening(0)),
        Door(start=Opening(4, 7.0), paces=True),
        Door(start=Opening(9, 5.0), paces=True),
    )
    gates = Gates([plain, first, second])
    assert gates.paces
    assert gates.startable(0.0, 6) == Opening(4, 7.0)
    assert (first.asked, second.asked) == ([6], [4]), (
        "the second is asked for what the first lets pass"
    )
    gates.started(4, 0.0)
    assert (plain.counted, first.counted, second.counted) == ([], [4], [4])


def test_when_all_may_start_there_is_no_need_to_ask_again() -> None:
    gates = Gates([Door(start=Opening(9, 5.0), paces=True)])
    assert gates.startable(0.0, 6) == Opening(6, NEVER)


def test_all_learn_of_outcomes() -> None:
    doors = [Door(), Door(paces=True)]
    done = tasks(plan(), "a", "b")
    Gates(doors).learn(done, 0.0)
    assert [door.learnt for door in doors] == [done, done]


def test_what_is_replaced_is_closed_and_what_stays_is_not() -> None:
    stays, goes, comes = Door(), Door(paces=True), Door(shut=True)
    gates = Gates([stays, goes])
    gates.replace([stays, comes])
    assert (stays.ended, goes.ended, comes.ended) == (0, 1, 0)
    assert not gates.paces
    assert gates.closed(0.0)
    gates.close()
    gates.close()
    assert (stays.ended, goes.ended, comes.ended) == (1, 1, 1)


def test_a_rate_in_it_keeps_its_pace() -> None:
    gates, at, begun = Gates([Rate(10.0)]), 100.0, 0
    while at < 110.0:
        room = gates.startable(at, 3).room
        gates.started(room, at)
        begun += room
        at += 0.01
    assert begun in (100, 101)
