"""`fbcli.Options` and `fbcli.TaskOptions`, as they are gathered."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from typing import Any

import pytest

from fbcli import Options, TaskOptions
from fbcli.errors import BadMessage, BadSetting
from fbcli.options.gathered import (
    MESSAGE_OPTIONS,
    OPTIONS,
    PANELS,
    checked_message_options,
    checked_options,
)
from fbcli.options.per_message import at_the_door

GIVEN: dict[str, Any] = {
    "queue": "orders",
    "concurrency": "auto",
    "max_memory": "1GB",
    "qps": "5",
    "max_per_key": "customer_id=2",
    "breaker": "5/1m",
    "dedupe": "yes",
    "dedupe_key": "a,b",
    "retries": "7",
    "timeout": "1m",
}


def told(name: str) -> str:
    return f"--{name}"


def test_text_is_converted_and_the_rest_is_the_default() -> None:
    options = Options(**GIVEN)
    assert options.queue == "orders"
    assert (options.qps, options.retries, options.timeout, options.dedupe) == (5.0, 7, 60.0, True)
    assert (options.max_per_key, options.breaker) == (("customer_id", 2), (5, 60.0))
    assert options.prefetch is None
    assert Options().model_dump() == {name: option.default for name, option in OPTIONS.items()}


def test_it_is_frozen_and_knows_its_fields_only() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Options().qps = 5.0
    with pytest.raises(ValueError, match="not permitted"):
        Options(qsp=5)  # type: ignore[call-arg]


def test_it_travels() -> None:
    for options in (Options(), Options(**GIVEN)):
        assert pickle.loads(pickle.dumps(options)) == options  # noqa: S301
        assert Options(**json.loads(options.model_dump_json())) == options
        assert Options(**options.model_dump()) == options
    task_options = TaskOptions(timeout=5)
    assert pickle.loads(pickle.dumps(task_options)) == task_options  # noqa: S301
    assert b"fbcli\n" in pickle.dumps(Options, protocol=0)


def test_every_option_says_what_it_is_for() -> None:
    for name, option in OPTIONS.items():
        field = Options.model_fields[name]
        assert field.description == option.help
        assert option.help.endswith("."), name
        assert option.panel in PANELS, name
        assert option.kind.shown or option.kind.is_switch, name
        assert option.check(option.default) == option.default, name
    assert list(Options.model_fields) == list(OPTIONS)
    assert list(TaskOptions.model_fields) == list(MESSAGE_OPTIONS)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("qsp", 5, "--qsp sets 'qsp', which is not an option. Did you mean 'qps'?"),
        ("qps", 0, "--qps: qps = 0 cannot be used: it must lie between 0.001 and 100,000."),
        ("qps", math.nan, "--qps: qps = nan cannot be used: write a number."),
        ("retries", True, "--retries: retries = True cannot be used: write a whole number."),
        (
            "timeout",
            1e300,
            "--timeout: timeout = 1e+300 cannot be used: a duration is at most a century.",
        ),
        (
            "mode",
            "thread",
            "--mode: mode = 'thread' cannot be used: write one of auto, threads, asyncio, gevent,"
            " eventlet, process, solo.",
        ),
        ("queue", "", "--queue: queue = '' cannot be used: a text has 1 to 1,000 characters here."),
    ],
)
def test_what_cannot_be_used_is_told_with_its_place(name: str, value: Any, sentence: str) -> None:
    with pytest.raises(BadSetting) as checked:
        checked_options({name: value}, told)
    with pytest.raises(BadSetting) as made:
        Options.make({name: value}, source=told)
    assert str(checked.value) == str(made.value) == sentence


def test_a_long_value_is_cut_where_it_is_told() -> None:
    with pytest.raises(BadSetting) as caught:
        checked_options({"mode": "x" * 1_000_000}, told)
    assert len(str(caught.value)) < 500


def test_a_secret_is_not_told() -> None:
    with pytest.raises(BadSetting) as caught:
        checked_options({"priority": "redis://:p4ss@h/0"}, told)
    assert "p4ss" not in str(caught.value)


def test_options_without_effect_are_told() -> None:
    assert Options().without_effect() == []
    assert Options(qps_group="a", dedupe_key="b", tz="UTC").without_effect() == [
        "qps_group has no effect here without qps.",
        "tz has no effect here without window.",
        "dedupe_key has no effect here without dedupe.",
    ]
    assert Options(tz="UTC", not_between="1:00-2:00").without_effect() == []


# --- those of a message


def test_options_of_a_message_are_converted_and_none_is_left_out() -> None:
    given = {"retries": "3", "timeout": "5m", "result": 1, "expires": None, "dedupe_key": 7}
    assert checked_message_options(given, told) == {
        "retries": 3,
        "timeout": 300.0,
        "result": True,
        "dedupe_key": "7",
    }
    with pytest.raises(BadSetting, match=r"sets 'retry', which is not an option\. Did you mean"):
        checked_message_options({"retry": 1}, told)


def test_at_the_door_they_are_converted_once_and_those_of_the_function_are_returned() -> None:
    extra = {
        "task_id": "t",
        "retries": 2.0,
        "timeout": None,
        "delay_until": 1701687443,
        "dedupe_key": 7,
        "result": "yes",
        "priority": "no matter of the consumer's",
        "foreign": {"anything": 1},
    }
    assert at_the_door(extra) == {"retries": 2}
    assert extra == {
        "task_id": "t",
        "retries": 2,
        "delay_until": 1701687443.0,
        "dedupe_key": "7",
        "result": True,
        "priority": "no matter of the consumer's",
        "foreign": {"anything": 1},
    }
    assert at_the_door(extra) == {"retries": 2}


@pytest.mark.parametrize(
    "extra",
    [
        {"delay_until": int("9" * 400)},
        {"delay_until": 1701687443000},
        {"delay_until": "18:00"},
        {"retries": 10**18},
        {"retries": [1]},
        {"timeout": 1e300},
        {"timeout": 0},
        {"expires": -1},
        {"dedupe_key": "k" * 1001},
        {"dedupe_key": {}},
        {"result": "please"},
    ],
    ids=str,
)
def test_what_a_stranger_wrote_is_bounded(extra: dict[str, Any]) -> None:
    (name,) = extra
    with pytest.raises(BadMessage, match=rf"own options cannot be used: extra: {name} = ") as error:
        at_the_door(extra)
    assert len(str(error.value)) < 500


def test_names_and_kinds_need_no_pydantic() -> None:
    code = "import sys, fbcli.options.gathered, fbcli.booster; print('pydantic' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
