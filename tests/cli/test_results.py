"""`fb results` and `fb show`, as a user runs them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from fbcli.stores.base import ConsumerRecord, Result, Store
from tests.cli.shell import Shell
from tests.messages import settings_in

EVIL = "\x1b[2J\x9b31m\u202e[bold]\r\n"


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, fb: Shell) -> Iterator[Store]:
    """The store that `fb` uses, too."""
    url = None if request.param == "sqlite" else request.getfixturevalue("redis_url")
    if url:
        fb.env["FB_BROKER"] = url
    with settings_in(fb.folder, url) as settings:
        yield settings.open_store()


def result(task_id: str, queue: str = "mymod.add", **fields: object) -> Result:
    now = time.time()
    given = {
        "state": "succeeded",
        "started": now - 90,
        "finished": now - 60,
        "worker": "here:42",
        **fields,
    }
    return Result(task_id, queue, **given)  # type: ignore[arg-type]


def failure(task_id: str, **fields: object) -> Result:
    trace = '  File "mymod.py", line 1, in add\nValueError: bad'
    return result(
        task_id,
        state="failed",
        error_type="ValueError",
        error="bad",
        traceback=trace,
        attempts=4,
        **fields,
    )


# results


def test_the_newest_results_are_listed_first(fb: Shell, store: Store) -> None:
    store.save_results(
        [result("a", value=3), failure("b"), result("c", "other", value={"x": "ü"})], 60
    )
    headings, *rows = [re.split(r"\s{2,}", line) for line in fb.ok("results").lines]
    assert headings == ["task id", "queue", "state", "ended", "took", "attempts", "value"]
    assert [row[:3] for row in rows] == [
        ["c", "other", "succeeded"],
        ["b", "mymod.add", "failed"],
        ["a", "mymod.add", "succeeded"],
    ]
    assert re.fullmatch(r"1 min( \d s)? ago", rows[0][3])
    assert [row[4:] for row in rows] == [
        ["30 s", "1", '{"x":"ü"}'],
        ["30 s", "4", "ValueError: bad"],
        ["30 s", "1", "3"],
    ]
    assert [each["task_id"] for each in fb.ok("results", "mymod:add", "--json").objects] == [
        "b",
        "a",
    ]
    assert [each["task_id"] for each in fb.ok("results", "-n", "1", "--json").objects] == ["c"]
    first, *_ = fb.ok("results", "mymod.add", "--failed", "--json").objects
    assert set(first) == set(Result.__struct_fields__), "all fields, those that are empty, too"
    assert (first["task_id"], first["error_type"], first["attempts"]) == ("b", "ValueError", 4)


def test_failures_are_found_among_many(fb: Shell, store: Store) -> None:
    store.save_results([failure(f"f{number}") for number in range(3)], 60)
    store.save_results([result(f"s{number}") for number in range(1500)], 60)
    assert [
        each["task_id"] for each in fb.ok("results", "--failed", "-n", "2", "--json").objects
    ] == ["f2", "f1"]


def test_no_results_say_what_to_type_next(fb: Shell, store: Store) -> None:
    store.save_results([result("a", "other")], 60)
    assert (
        fb.ok("results", "mymod:add").err
        == "mymod.add has no results.\n  fb consume mymod:add --results\n  fb push mymod:add x=1"
        " --result\n"
    )
    assert fb.ok("results", "--failed").err.startswith(
        "There are no results of tasks that failed.\n"
    )
    assert fb.ok("results", "mymod:add", "--json") == type(fb.ok("results", "--failed", "--json"))(
        0, "", ""
    )
    assert fb("results", "-n", "0").code == 2


def test_a_long_value_is_cut_in_the_table_alone(fb: Shell, store: Store) -> None:
    store.save_results([result("a", value="x" * 10_000)], 60)
    assert len(fb.ok("results").lines[1]) < 250
    assert fb.ok("results", "--json").json["value"] == "x" * 10_000
    assert "x" * 10_000 in fb.ok("show", "a").out


# show


def test_show_of_one_that_succeeded(fb: Shell, store: Store) -> None:
    store.save_results([result("a", value={"x": [1, None]})], 60)
    lines = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in fb.ok("show", "a").lines)
    assert lines["task id"] == "a"
    assert (lines["state"], lines["queue"], lines["worker"], lines["attempts"]) == (
        "succeeded",
        "mymod.add",
        "here:42",
        "1",
    )
    assert lines["value"] == '{"x":[1,null]}'
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(1 min( \d s)? ago, after 30 s\)", lines["ended"]
    )
    shown = fb.ok("show", "a", "--json").json
    assert set(shown) == {*Result.__struct_fields__, "cancel_asked"}
    assert (shown["state"], shown["value"], shown["cancel_asked"]) == (
        "succeeded",
        {"x": [1, None]},
        False,
    )


def test_show_of_one_that_failed_has_its_traceback(fb: Shell, store: Store) -> None:
    store.save_results(
        [failure("a"), result("b", state="dropped", error_type="Dropped", error="expired")], 60
    )
    out = fb.ok("show", "a").out
    assert (
        'error     ValueError: bad\ntraceback\n    File "mymod.py", line 1, in add\n  ValueError:'
        " bad\n" in out
    )
    assert "error     expired\n" in fb.ok("show", "b").out


def test_show_of_what_runs_or_is_to_be_cancelled(fb: Shell, store: Store) -> None:
    record = ConsumerRecord(
        "w1", "here", 42, queue="mymod.add", address="mymod:add", running=["run"]
    )
    store.beat([record], 60)
    store.request_cancel(["run", "queued"], 60)
    out = fb.ok("show", "run").out
    assert re.findall(r"^(\w+) {2,}(.+)$", out, re.MULTILINE) == [
        ("state", "running"),
        ("queue", "mymod.add"),
        ("worker", "here:42"),
        ("address", "mymod:add"),
        ("cancel", "asked for"),
    ]
    running, queued = fb.ok("show", "run", "queued", "--json").objects
    assert running == {
        "task_id": "run",
        "state": "running",
        "cancel_asked": True,
        "queue": "mymod.add",
        "worker": "here:42",
    }
    assert queued == {"task_id": "queued", "state": "queued", "cancel_asked": True}


def test_show_of_what_is_not_known(fb: Shell, store: Store) -> None:
    store.save_results([result("order-4711")], 60)
    ran = fb("show", "order-4712")
    assert (ran.code, ran.out) == (3, "")
    assert "fb: Nothing is known of task order-4712:" in ran.err
    assert "Did you mean 'order-4711'?" in ran.err
    ran = fb("show", "order-4711", "a", "b", "--json")
    assert (ran.code, ran.json["task_id"]) == (8, "order-4711")
    assert ran.err == "fb: Nothing is known of a, b.\n"
    assert fb("show").code == 2


def test_a_push_is_shown_once_it_has_run(fb: Shell, store: Store) -> None:
    task_id = fb.ok("push", "mymod:add", "x=1", "--result").out.strip()
    assert fb("show", task_id).code == 3
    fb.ok("consume", "mymod:add", "--burst")
    shown = fb.ok("show", task_id, "--json").json
    assert (shown["state"], shown["value"], shown["queue"]) == ("succeeded", 3, "mymod.add")


def test_hostile_text_cannot_steer_the_terminal(fb: Shell, store: Store) -> None:
    evil = failure("id")
    evil.error = evil.traceback = evil.worker = evil.queue = EVIL
    store.save_results([evil, result(EVIL, value=EVIL)], 60)
    for words in (["results"], ["show", "id"], ["show", EVIL]):
        for shown in (fb.ok(*words).out, fb.ok(*words, "--json").out):
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown), words
        assert not re.search("\x1b\\[2J|\x9b|\u202e", fb.at_terminal(*words).out), words
    assert fb.ok("show", EVIL, "--json").json["value"] == EVIL


def test_a_store_out_of_reach(fb: Shell) -> None:
    for words in (["results"], ["show", "a"]):
        ran = fb(*words, env={"FB_BROKER": "redis://127.0.0.1:1/0"})
        assert (ran.code, ran.out) == (4, "")
        assert ran.err.startswith("fb: ")
