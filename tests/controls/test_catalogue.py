"""The one list of controls: nothing is on that is not switched on, and no control is forgotten."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fbcli import controls
from fbcli.clock import SYSTEM
from fbcli.controls.base import Control, Place
from fbcli.controls.breaker import Breaker
from fbcli.controls.catalogue import (
    CARRIED,
    CONTROLS,
    OVERRIDES,
    Controls,
    MessageControls,
    admissions_of,
    gates_of,
)
from fbcli.controls.dedupe import Dedupe, Unique
from fbcli.controls.delay import Delay
from fbcli.controls.expiry import Expiry
from fbcli.controls.fleet_rate import FleetRate
from fbcli.controls.per_key import MaxPerKey
from fbcli.controls.rate import Rate
from fbcli.controls.window import Window
from fbcli.options.model import Options
from fbcli.stores import open_store
from fbcli.values.declaration import options_of

NOTHING: frozenset[str] = frozenset()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with closing(open_store(f"sqlite:///{tmp_path}/store.db")) as store:
        yield Place("q", store, "me", 5.0, SYSTEM)


def options(**given: Any) -> Options:
    return Options.make(given, source=lambda name: "the test")


def test_every_control_is_listed() -> None:
    declared = set()
    for module in pkgutil.iter_modules(controls.__path__, "fbcli.controls."):
        for each in vars(importlib.import_module(module.name)).values():
            if isinstance(each, type) and issubclass(each, Control) and each is not Control:
                declared.add(each)
    assert declared - {Controls} == set(CONTROLS)


def test_no_two_controls_declare_the_same() -> None:
    own = [
        name
        for control in CONTROLS
        for name, value in vars(control).items()
        if name in options_of(Controls)
    ]
    assert sorted(own) == sorted(options_of(Controls))


def test_what_is_off_is_not_there(place: Place) -> None:
    assert gates_of(Options(), place, live=False) == []
    assert gates_of(Options(), place, live=True) == []
    assert admissions_of(Options(), place, NOTHING) == []


@pytest.mark.parametrize(
    ("given", "live", "expected"),
    [
        ({"window": "22:00-06:00"}, False, Window),
        ({"not_between": "22:00-06:00"}, False, Window),
        ({"breaker": "5/60s"}, False, Breaker),
        ({"qps": 5}, True, Rate),
        ({"qps": 5, "qps_scope": "cluster"}, True, FleetRate),
    ],
)
def test_an_option_switches_its_gate_on(
    place: Place, given: dict[str, Any], live: bool, expected: type
) -> None:
    assert [type(gate) for gate in gates_of(options(**given), place, live=live)] == [expected]
    assert gates_of(options(**given), place, live=not live) == []


def test_a_fleet_shares_a_rate_by_queue_or_group(place: Place) -> None:
    def key(**given: Any) -> str:
        (gate,) = gates_of(options(qps=5, qps_scope="cluster", **given), place, live=True)
        assert isinstance(gate, FleetRate)
        return gate.key

    assert key() == "queue:q"
    assert key(qps_group="api") == "group:api"


@pytest.mark.parametrize(
    ("given", "carried", "expected"),
    [
        ({"expires": 5}, [], [Expiry]),
        ({"dedupe": True}, [], [Dedupe]),
        ({"max_per_key": "id=2"}, [], [MaxPerKey]),
        ({}, ["delay_until"], [Delay]),
        ({}, ["unique"], [Unique]),
        (
            {"expires": 5, "dedupe": True, "max_per_key": "id=2"},
            ["unique", "delay_until"],
            [Unique, Delay, Expiry, Dedupe, MaxPerKey],
        ),
    ],
)
def test_admissions_are_asked_in_order(
    place: Place, given: dict[str, Any], carried: list[str], expected: list[type]
) -> None:
    found = admissions_of(options(**given), place, frozenset(carried))
    assert [type(admission) for admission in found] == expected


def test_claims_are_kept_where_the_consumer_owns_them(place: Place) -> None:
    found = admissions_of(options(dedupe=True, max_per_key="id=2"), place, CARRIED)
    assert [each.space for each in found] == [None, None, "dedupe:q", "per_key:q:id"]


def test_what_a_message_may_set_for_itself() -> None:
    assert {"retries", "timeout", "expires"} == OVERRIDES
    assert {"delay_until", "unique"} == CARRIED
    assert set(options_of(MessageControls)) == OVERRIDES | {"delay_until", "dedupe_key"}
