"""Requests to cancel, as a consumer keeps them between two looks at the store."""

from __future__ import annotations

from fbcli.broker import Delivery
from fbcli.controls.cancel import Cancel
from fbcli.task import CANCELLED, RETRY, SUCCEEDED, Task


def task(task_id: str, state: int) -> Task:
    return Task(Delivery(b"", None), task_id, {}, {}, None, state=state)


def test_only_new_requests_are_news() -> None:
    cancel = Cancel()
    assert not cancel.set([])
    assert cancel.set(["a", "b"])
    assert not cancel.set(["b", "a"])
    assert not cancel.set(["a"]), "one that is over is none"
    assert cancel.wanted == {"a"}
    assert cancel.set(["b"])


def test_requests_are_served_once_their_tasks_have_ended_whatever_way() -> None:
    cancel = Cancel()
    cancel.learn([task("early", CANCELLED)], 0.0)
    cancel.set(["a", "b", "c", "early"])
    cancel.learn(
        [task("a", CANCELLED), task("b", RETRY), task("c", SUCCEEDED), task("other", SUCCEEDED)],
        0.0,
    )
    assert sorted(cancel.served()) == ["a", "c"], "one that is tried again may yet be cancelled"
    assert cancel.served() == []
    cancel.learn([task("b", SUCCEEDED)], 0.0)
    assert cancel.served() == ["b"]
