"""Plans: that of a function, and those of messages with options of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from fbcli.arguments.signature import Signature
from fbcli.controls.base import Place
from fbcli.controls.timeout import Deadlines
from fbcli.engine import planner as module
from fbcli.engine.planner import Planner
from fbcli.errors import BadMessage
from fbcli.stores import open_store
from fbcli.stores.base import Store
from fbcli.stores.keys import dedupe_space, per_key_space
from tests.engine.factories import Clock, options, work


class Expected(Deadlines):
    """Notes the timeouts that it is to look after."""

    def __init__(self) -> None:
        super().__init__(lambda: (), lambda run, error: True, lambda run: True)
        self.seconds: list[float] = []

    def expect(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def store() -> Iterator[Store]:
    with closing(open_store("memory://planner")) as store:
        yield store


class Made:
    """A planner, and what it was made with."""

    def __init__(self, store: Store, **given: Any) -> None:
        self.deadlines = Expected()
        self.options = options(**given)
        self.planner = Planner(
            queue="q",
            address="here:work",
            function=work,
            signature=Signature.of(work),
            rows="",
            options=self.options,
            place=Place("q", store, "me", 1.5, Clock()),
            deadlines=self.deadlines,
        )

    def names(self, **extra: Any) -> list[str]:
        """Return the controls that a message with this `extra` passes."""
        return [type(each).__name__ for each in self.planner.plan_for(extra).admissions]


def test_the_plan_of_the_function(store: Store) -> None:
    made = Made(store, retries=4, timeout=3)
    plan = made.planner.plan
    assert (plan.queue, plan.address, plan.function) == ("q", "here:work", work)
    assert (plan.options, plan.timeout, plan.keeps) == (made.options, 3, False)
    assert plan.admissions == ()
    assert made.deadlines.seconds == [3], "it is looked after from the beginning"


def test_a_message_that_sets_nothing_has_the_plan_of_the_function(store: Store) -> None:
    planner = Made(store).planner
    assert planner.plan_for({}) is planner.plan
    assert planner.plan_for({"task_id": "t", "result": False}) is planner.plan
    assert planner.plan_for({"retries": None}) is planner.plan


def test_what_a_message_sets_holds_for_it_alone(store: Store) -> None:
    made = Made(store, retries=4, results=True)
    own = made.planner.plan_for({"retries": 0, "timeout": "2s", "result": False})
    assert (own.options.retries, own.timeout, own.keeps) == (0, 2.0, False)
    assert made.planner.plan.options.retries == 4
    assert made.deadlines.seconds == [2.0]


def test_equal_options_share_a_plan(store: Store) -> None:
    planner = Made(store).planner
    first = planner.plan_for({"retries": 1, "expires": 5})
    assert planner.plan_for({"expires": 5.0, "retries": 1, "task_id": "other"}) is first
    assert planner.plan_for({"retries": 1}) is not first
    assert planner.plan_for({"retries": 1, "expires": 5, "result": True}) is not first


def test_controls_that_only_some_messages_pass(store: Store) -> None:
    made = Made(store)
    assert made.names() == []
    assert made.names(delay_until=5.0) == ["Delay"]
    assert made.names(expires=5) == ["Expiry"]
    assert made.names(unique="key") == ["Unique"]
    assert made.names(unique="key", delay_until=5.0, expires=1) == ["Unique", "Delay", "Expiry"]


def test_controls_of_the_function_are_shared_by_all_of_its_messages(store: Store) -> None:
    made = Made(store, dedupe=True, max_per_key="x=2", expires=60)
    assert made.names() == ["Expiry", "Dedupe", "MaxPerKey"]
    assert made.planner.spaces == [dedupe_space("q"), per_key_space("q", "x")]
    assert made.names(retries=9) == ["Expiry", "Dedupe", "MaxPerKey"]
    assert Made(store).planner.spaces == []


@pytest.mark.parametrize("extra", [{"timeout": "soon"}, {"retries": [1]}, {"expires": -1}])
def test_options_that_cannot_be_used_are_refused(store: Store, extra: dict[str, Any]) -> None:
    with pytest.raises(BadMessage, match="cannot be used"):
        Made(store).planner.plan_for(extra)


def test_strangers_cannot_fill_the_memory_with_plans(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PLANS", 10)
    planner = Made(store).planner
    for retries in range(100):
        assert planner.plan_for({"retries": retries}).options.retries == retries
        assert len(planner._plans) <= 10
    assert planner.plan.options.retries == options().retries
