"""The last delivery of messages that were lost with their workers: one at a time, and nothing
beside it."""

from __future__ import annotations

import pytest

from fbcli.broker import Delivery
from fbcli.engine.isolation import Isolation, is_last
from fbcli.engine.plan import Plan
from fbcli.task import Task
from tests.engine.factories import ids, message, plan


def lost(plan: Plan, task_id: str, deliveries: int) -> Task:
    return Task(Delivery(message(task_id), None, deliveries=deliveries), task_id, {}, {}, plan)


@pytest.mark.parametrize(
    ("most", "deliveries", "last"),
    [(3, 2, False), (3, 3, True), (1, 1, False), (2, 1, False), (2, 2, True)],
)
def test_which_are_last(most: int, deliveries: int, last: bool) -> None:
    assert is_last(lost(plan(max_deliveries=most), "t", deliveries)) is last


def test_one_is_chosen_and_all_else_goes_back(caplog: pytest.LogCaptureFixture) -> None:
    kind, isolation = plan(max_deliveries=3), Isolation()
    fresh, last, other = lost(kind, "fresh", 1), lost(kind, "last", 3), lost(kind, "other", 3)
    assert isolation.choose([fresh]) is None
    assert (isolation.task, isolation.careful) == (None, False)
    left = isolation.choose([fresh, last, other])
    assert left is not None
    assert ids(left) == ["fresh", "other"]
    assert (isolation.task, isolation.waits, isolation.careful) == (last, True, True)
    assert "lost with its worker 2 times: carried out alone" in caplog.text
    assert isolation.begin() is last
    assert not isolation.waits
    assert isolation.take_back() == [], "it has begun"
    isolation.learn([fresh, other], 0.0)
    assert isolation.task is last
    isolation.learn([Task(last.delivery, "last", {}, {}, kind)], 0.0)
    assert isolation.task is None, "as a copy, when it was left behind"


def test_while_one_is_alone_no_other_is_chosen() -> None:
    kind, isolation = plan(max_deliveries=3), Isolation()
    last, other = lost(kind, "last", 3), lost(kind, "other", 3)
    assert isolation.choose([last]) == []
    assert isolation.choose([other]) == [other]
    assert isolation.task is last


def test_it_can_be_taken_back_and_given_again() -> None:
    kind, isolation = plan(max_deliveries=3), Isolation()
    last = lost(kind, "last", 3)
    isolation.choose([last])
    assert isolation.take_back() == [last]
    assert (isolation.task, isolation.waits) == (None, False)
    assert isolation.choose([last]) == []
    isolation.begin()
    assert isolation.choose([last]) == [], "taken out of the pool, before a thread had it"
    assert isolation.waits
