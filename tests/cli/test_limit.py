"""`fb limit`, as a user runs it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from fbcli.queues.queue import Queue
from tests.cli.consuming import consuming
from tests.cli.shell import Shell
from tests.messages import message, queue_in
from tests.servers import wait_until


@pytest.fixture(params=["sqlite", "redis"])
def queue(request: pytest.FixtureRequest, fb: Shell) -> Iterator[Queue]:
    """The queue of `mymod:add` on a broker, which `fb` uses, too."""
    url = None if request.param == "sqlite" else request.getfixturevalue("redis_url")
    if url:
        fb.env["FB_BROKER"] = url
    with queue_in(fb.folder, broker=url) as found:
        yield found


def test_limits_are_set_merged_shown_and_reset(fb: Shell, queue: Queue) -> None:
    ran = fb.ok("limit")
    assert (ran.out, ran.err) == ("", "No queue has limits.\n  fb limit mymod:task --qps 5\n")
    queue.publish([message("a", x=1)])
    assert (
        fb.ok("limit", "mymod:add", "--qps", "3", "--qps-scope", "cluster").err
        == "mymod.add: 3 a second over all processes. It has no consumer now; it holds for those"
        " that start; `fb limit mymod.add --reset` ends that.\n"
    )
    ran = fb.ok("limit", "mymod.add", "other", "--concurrency", "20", "--json")
    first, second = ran.objects
    assert first == {
        "queue": "mymod.add",
        "qps": 3.0,
        "qps_scope": "cluster",
        "concurrency": 20,
        "consumers": 0,
        "in_force": [],
    }
    assert (second["queue"], second["qps"], second["qps_scope"], second["concurrency"]) == (
        "other",
        None,
        None,
        20,
    )
    fb.ok("limit", "other", "--concurrency", "auto", "--qps", "none")
    headings, mine, other = fb.ok("limit").lines
    assert re.split(r"\s{2,}", headings) == ["queue", "set", "in force", "consumers"]
    assert re.split(r"\s{2,}", mine) == [
        "mymod.add",
        "3 a second over all processes, concurrency 20",
        "-",
        "0",
    ]
    assert re.split(r"\s{2,}", other) == ["other", "no rate limit, concurrency auto", "-", "0"]
    assert [row["qps"] for row in fb.ok("limit", "--json").objects] == [3.0, 0.0]

    assert (
        fb.ok("limit", "mymod:add", "--reset").err
        == "mymod.add goes back to what its consumers were started with.\n"
    )
    assert fb.ok("limit", "mymod:add", "--reset").err == "mymod.add had no limits.\n"
    assert fb.ok("limit", "othr", "--reset").err == "othr had no limits. Did you mean 'other'?\n"
    assert fb.ok("limit", "mymod:add", "--json").json["qps"] is None
    assert [row["queue"] for row in fb.ok("limit", "--json").objects] == ["other"]


def test_a_name_that_is_a_slip(fb: Shell, queue: Queue) -> None:
    queue.publish([message("a", x=1)])
    assert fb.ok("limit", "mymod.ad", "--qps", "3").err.endswith(
        "ends that. Did you mean 'mymod.add'?\n"
    )


def test_live_consumers_take_it_up(fb: Shell, queue: Queue) -> None:
    fb.env["FB_QPS"] = "0.001"
    queue.publish([message(f"m{number}", x=number) for number in range(50)])
    consuming(fb, "mymod:add")
    row = fb.ok("limit", "mymod:add", "--json").json
    assert (row["qps"], row["consumers"], row["in_force"][0]["qps"]) == (
        None,
        1,
        0.001,
    ), "FB_QPS is for consumers"
    ran = fb.ok("limit", "mymod:add", "--qps", "none", "--concurrency", "7")
    assert (
        "mymod.add: no rate limit, concurrency 7. Live consumers take it up within 2 s;" in ran.err
    )
    fb.ok("wait", "mymod:add", "--timeout", "20")
    wait_until(
        lambda: (
            fb.ok("limit", "mymod:add", "--json").json["in_force"]
            == [{"qps": None, "qps_scope": "process", "concurrency": 7}]
        ),
        "the consumer's report",
    )
    assert "no rate limit, concurrency 7" in fb.ok("limit", "mymod:add").out
    fb.ok("limit", "mymod:add", "--reset")
    wait_until(
        lambda: fb.ok("limit", "mymod:add", "--json").json["in_force"][0]["qps"] == 0.001,
        "the consumer to go back",
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["q", "--qps", "fast"], "--qps"),
        (["q", "--qps", "-1"], "--qps"),
        (["q", "--qps-scope", "galaxy"], "--qps-scope"),
        (["q", "--concurrency", "0"], "--concurrency"),
        (["q", "--concurrency", "many"], "--concurrency"),
        (["q", "--qps", "3", "--reset"], "--reset"),
        (["--qps", "3"], "Name a queue"),
        (["--reset"], "Name a queue"),
        (["q", "--qsp", "3"], "Did you mean '--qps'?"),
        (["mymod:nope", "--qps", "3"], "nope"),
    ],
)
def test_what_cannot_be_used(fb: Shell, words: list[str], told: str) -> None:
    ran = fb("limit", *words)
    assert (ran.code, ran.out) == (3 if words[0] == "mymod:nope" else 2, "")
    assert told in ran.err
    assert "Traceback" not in ran.err
    assert fb.ok("limit").out == "", "nothing was set"
