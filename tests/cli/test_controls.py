"""The controls as a user switches them on: flags of `fb consume` and `fb push`, real processes, on
SQLite and on Redis."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections import Counter
from datetime import datetime, timedelta

import pytest

from fbcli.broker import Size
from tests.cli.consuming import Consuming
from tests.cli.jobs import began, bodies, notes, push, raw, result, set_up, side_by_side, size
from tests.cli.shell import Shell
from tests.messages import message
from tests.servers import wait_until

JOBS = '''

from fbcli import DeadLetter, Requeue, Retry, current


def customer(n: int = 0, customer_id: int = 0, seconds: float = 0.2) -> None:
    note(f"begin{customer_id}", n)
    time.sleep(seconds)
    note(f"end{customer_id}", n)


def flaky(n: int = 0) -> None:
    """Fails while the file "broken" is there."""
    note("begin", n)
    time.sleep(0.02)
    if os.path.exists("broken"):
        raise ConnectionError(f"no {n}")


def rows(rows: list) -> list:
    note("batch", len(rows))
    for row in rows:
        if row.get("bad"):
            raise ValueError(f"bad row {row['n']}")
    for row in rows:
        note("row", row["n"])
    return [row["n"] * 2 for row in rows]


def slow_rows(rows: list) -> None:
    """Takes for ever for several, and no time for one."""
    note("batch", len(rows))
    while len(rows) > 1:
        time.sleep(0.01)
    note("row", rows[0]["n"])


def verdict(n: int = 0, how: str = "") -> str:
    note("begin", n)
    if how == "retry" and current().attempt < 3:
        raise Retry(after=0.2)
    if how == "requeue" and len(open("notes").read().splitlines()) < 3:
        raise Requeue("not yet")
    if how == "dead":
        raise DeadLetter("not for us")
    return f"attempt {current().attempt}"


def lookup(n: int = 0) -> None:
    note("begin", n)
    raise KeyError(n)


def stubborn(n: int = 0) -> None:
    """Is in one long call in C, where nothing can interrupt it."""
    note("begin", n)
    import threading
    threading.Event().wait(20)
    note("end", n)


def deadly(n: int = 0, kills: bool = False) -> None:
    """Ends its whole process, or takes its time."""
    note("begin", n)
    if kills:
        os.kill(os.getpid(), 9)
    time.sleep(0.3)
    note("end", n)


def hoard(n: int = 0, megabytes: int = 10) -> None:
    note("begin", n)
    kept.append(bytearray(os.urandom(1 << 20) * megabytes))
    time.sleep(0.05)  # memory is looked at twice a second


kept = []
'''


def controls(fb: Shell, url: str | None) -> Shell:
    """Give the folder the module `jobs` with what these tests need."""
    set_up(fb, url)
    with (fb.folder / "jobs.py").open("a") as module:
        module.write(JOBS)
    return fb


@pytest.fixture(params=["sqlite", "redis"])
def shop(request: pytest.FixtureRequest, fb: Shell) -> Shell:
    return controls(fb, None if request.param == "sqlite" else request.getfixturevalue("redis_url"))


@pytest.fixture
def plain(fb: Shell) -> Shell:
    return controls(fb, None)


def busiest_second(times: list[float]) -> int:
    """Return how many of these fall into the busiest second."""
    ordered = sorted(times)
    first, most = 0, 0
    for last, at in enumerate(ordered):
        while at - ordered[first] >= 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


# rate


def test_one_rate_for_two_processes_and_two_consumers(shop: Shell) -> None:
    push(shop, "work", range(400))
    how = ("jobs:work", "--qps", "50", "--qps-scope", "cluster")
    with Consuming(shop, *how, "--processes", "2") as first, Consuming(shop, *how) as second:
        first.until(lambda: len(began(shop)) >= 200, "four seconds' worth of calls")
        assert second.process.poll() is None
        times = [note.at for note in notes(shop, "begin")]
        assert len({note.pid for note in notes(shop)}) > 1, "more than one process had its share"
        assert busiest_second(times) <= 75, "with a rate each it would be 150"
        assert first.stop() == second.stop() == 0
    assert bodies(shop, "work")[0].get("extra", {}).get("attempts") is None, (
        "what waited has burnt no attempt"
    )
    assert sum(Counter(began(shop)).values()) == len(set(began(shop)))


def test_a_group_shares_one_rate(shop: Shell) -> None:
    push(shop, "work", range(100))
    push(shop, "awork", range(100))
    with Consuming(
        shop, "jobs:work", "jobs:awork", "--qps", "20", "--qps-group", "api"
    ) as consumer:
        consumer.until(lambda: len(began(shop)) >= 50, "calls of both")
        assert busiest_second([note.at for note in notes(shop, "begin")]) <= 30, (
            "with a rate each it would be 40"
        )
        assert consumer.stop() == 0


def test_limits_change_a_live_consumer_survive_it_and_can_be_undone(shop: Shell) -> None:
    push(shop, "work", range(3000))
    with Consuming(shop, "jobs:work", "--qps", "5") as consumer:
        consumer.until(lambda: len(began(shop)) >= 2, "it to begin")
        shop.ok("limit", "jobs:work", "--qps", "200")
        consumer.until(lambda: len(began(shop)) >= 200, "the new rate")
        assert consumer.stop() == 0
    done = len(began(shop))
    with Consuming(shop, "jobs:work", "--qps", "1") as consumer:
        consumer.until(
            lambda: len(began(shop)) >= done + 100,
            "the limit to hold for a consumer that starts later",
        )
        shop.ok("limit", "jobs:work", "--reset")
        consumer.until(lambda: consumer.says("from now on 1 a second"), "it to be reset")
        assert consumer.stop() == 0


def test_concurrency_of_a_live_consumer(plain: Shell) -> None:
    push(plain, "hold", range(8))
    with Consuming(plain, "jobs:hold", "--concurrency", "2") as consumer:
        consumer.until(lambda: len(began(plain)) == 2, "two to run")
        plain.ok("limit", "jobs:hold", "--concurrency", "6")
        consumer.until(lambda: len(began(plain)) == 6, "six to run")
        plain.write("go", "")
        consumer.until(lambda: len(notes(plain, "end")) == 8, "all to end")
        assert consumer.stop() == 0


def test_concurrency_that_finds_its_own_level(plain: Shell) -> None:
    push(plain, "work", range(300), seconds=0.1)
    ran = plain.ok("consume", "jobs:work", "--concurrency", "auto", "--burst")
    assert "as many threads as prove useful" in ran.err
    assert sorted(began(plain)) == list(range(300))


def test_slow_calls_are_paced_like_quick_ones(plain: Shell) -> None:
    """What runs already does not count as work held ahead of its time."""
    push(plain, "work", range(40), seconds=2.0)
    with Consuming(plain, "jobs:work", "--qps", "10", "--concurrency", "64") as consumer:
        consumer.until(
            lambda: len(began(plain)) == 40,
            "all to start",
        )
        times = sorted(note.at for note in notes(plain, "begin"))
        assert 3.5 < times[-1] - times[0] < 10, "forty at ten a second"
        assert consumer.stop() == 0


# dedupe


def test_dedupe_drops_what_has_succeeded_and_what_is_running_waits(shop: Shell) -> None:
    raw(
        shop,
        "work",
        *(message(f"a{i}", n=1, seconds=0.3) for i in range(5)),
        message("b", n=2, seconds=0.3),
    )
    ran = shop.ok("consume", "jobs:work", "--dedupe", "--burst", "--results")
    assert sorted(began(shop)) == [1, 2]
    assert "4 dropped" in ran.err
    raw(shop, "work", message("again", n=1, seconds=0.3))
    assert "1 dropped" in shop.ok("consume", "jobs:work", "--dedupe", "--burst", "--results").err
    again = result(shop, "again")
    assert again is not None
    assert again.state == "dropped"


def test_dedupe_marks_on_success_only_and_forgets_after_its_time(shop: Shell) -> None:
    shop.write("broken", "")
    raw(shop, "flaky", message("a", n=1), message("b", n=1))
    shop("consume", "jobs:flaky", "--dedupe", "--retries", "0", "--burst")
    assert began(shop) == [1, 1], "a failure is no reason to drop its like"
    (shop.folder / "broken").unlink()
    with Consuming(shop, "jobs:flaky", "--dedupe", "--dedupe-ttl", "5s", "--results") as consumer:
        assert outcome(shop, consumer, "c") == "succeeded"
        assert outcome(shop, consumer, "d") == "dropped"
        states = iter(lambda: outcome(shop, consumer, f"e{time.monotonic()}"), "succeeded")
        assert set(states) == {"dropped"}, "until its time is over"
        assert consumer.stop() == 0
    assert began(shop) == [1, 1, 1, 1]


def outcome(shop: Shell, consumer: Consuming, task_id: str) -> str:
    """Publish the call once more, and return what became of it."""
    raw(shop, "flaky", message(task_id, n=1))
    consumer.until(lambda: result(shop, task_id) is not None, f"{task_id} to end")
    saved = result(shop, task_id)
    assert saved is not None
    return saved.state


def test_dedupe_by_a_key_of_the_arguments_or_of_the_message(shop: Shell) -> None:
    raw(
        shop, "customer", *(message(f"t{n}", n=n, customer_id=n % 2, seconds=0.0) for n in range(6))
    )
    shop.ok("consume", "jobs:customer", "--dedupe", "--dedupe-key", "customer_id", "--burst")
    assert Counter(note.what for note in notes(shop) if note.what.startswith("begin")) == {
        "begin0": 1,
        "begin1": 1,
    }
    for n in range(3):
        shop.ok("push", "jobs:work", f"n={n}", "--dedupe-key", "the same")
    shop.ok("consume", "jobs:work", "--dedupe", "--burst")
    assert began(shop) == [0]


def test_claims_of_a_killed_consumer_are_free_again(shop: Shell) -> None:
    raw(shop, "hold", message("a", n=1))
    with Consuming(shop, "jobs:hold", "--dedupe", "--heartbeat", "0.3") as consumer:
        consumer.until(lambda: began(shop) == [1], "it to run")
        os.killpg(consumer.process.pid, signal.SIGKILL)
    shop.write("go", "")
    with Consuming(shop, "jobs:hold", "--dedupe", "--heartbeat", "0.3") as consumer:
        consumer.until(lambda: len(notes(shop, "end")) == 1, "the message to run again")
        assert consumer.stop() == 0
    assert size(shop, "hold") == Size(0, 0, 0)


def test_unique_refuses_at_push_until_it_has_ended(shop: Shell) -> None:
    shop.ok("push", "jobs:work", "n=1", "--unique")
    refused = shop("push", "jobs:work", "n=1", "--unique")
    assert refused.code == 6
    assert "already queued or running" in refused.err
    shop.ok("push", "jobs:work", "n=2", "--unique")
    lines = "".join(json.dumps({"n": n}) + "\n" for n in (1, 2, 3, 3))
    ran = shop.ok("push", "jobs:work", "-", "--unique", "--json", input=lines)
    assert ran.json == {"pushed": 1, "skipped": 0, "repeated": 3, "queue": "jobs.work"}
    shop.ok("consume", "jobs:work", "--burst")
    assert sorted(began(shop)) == [1, 2, 3]
    shop.ok("push", "jobs:work", "n=1", "--unique")
    shop.ok("clear", "jobs:work", "-y")
    shop.ok("push", "jobs:work", "n=1", "--unique")


def test_what_ends_without_having_run_is_not_unique_any_more(shop: Shell) -> None:
    shop.ok("push", "jobs:work", "n=1", "--unique", "--id", "unwanted")
    shop.ok("push", "--queue", "jobs.work", "nobody=1", "--unique")
    shop.ok("push", "jobs:work", "n=2", "--unique", "--expires", "1ms")
    shop.ok("cancel", "unwanted", "--no-wait")
    shop("consume", "jobs:work", "--burst")
    assert began(shop) == []
    for words in (("jobs:work", "n=1"), ("--queue", "jobs.work", "nobody=1"), ("jobs:work", "n=2")):
        shop.ok("push", *words, "--unique")


def test_an_option_without_effect_says_so(plain: Shell) -> None:
    ran = plain.ok("consume", "jobs:work", "--burst", "--dedupe-key", "n", "--qps-group", "api")
    assert "dedupe_key has no effect here without dedupe." in ran.err
    assert "qps_group has no effect here without qps." in ran.err
    assert (
        "no effect"
        not in plain.ok("consume", "jobs:work", "--burst", "--dedupe", "--dedupe-key", "n").err
    )


# windows, breaker


def test_a_closed_window_holds_nothing(shop: Shell) -> None:
    push(shop, "work", range(3))
    now = datetime.now()
    later = f"{now + timedelta(hours=2):%H:%M}-{now + timedelta(hours=3):%H:%M}"
    around = f"{now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=1):%H:%M}"
    with (
        Consuming(shop, "jobs:work", "--window", later) as closed,
        Consuming(shop, "jobs:work", "--not-between", around) as shut,
    ):
        for consumer in (closed, shut):
            consumer.until(
                lambda consumer=consumer: consumer.says("consuming jobs:work"), "it to be up"
            )
        assert size(shop, "work") == Size(3, 0, 0)
        assert closed.stop() == shut.stop() == 0
    assert began(shop) == []
    shop.ok("consume", "jobs:work", "--window", f"{around}; {later}", "--burst")
    assert sorted(began(shop)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--window", "25:00-26:00", "25:00-26:00"),
        ("--window", "* * *", "* * *"),
        ("--tz", "Europe/Berlinn", "Did you mean 'Europe/Berlin'?"),
        ("--breaker", "5", "5/60s"),
        ("--max-per-key", "customer_id", "customer_id=2"),
        ("--concurrency", "many", "many"),
        ("--max-memory", "lots", "500MB"),
        ("--dedupe-ttl", "soon", "soon"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_sentence(
    plain: Shell, flag: str, value: str, says: str
) -> None:
    ran = plain("consume", "jobs:work", "--burst", flag, value)
    assert ran.code == 2
    assert says in ran.err
    assert "Traceback" not in ran.err


def test_a_function_that_cannot_run_in_a_mode_is_refused_with_a_sentence(plain: Shell) -> None:
    for mode in ("gevent", "eventlet"):
        ran = plain("consume", "jobs:ahold", "--mode", mode)
        assert ran.code == 2
        assert ran.err.startswith("fb: jobs:ahold is an `async def`, which needs --mode asyncio")
    ran = plain("consume", "jobs:rows", "--batch", "5", "--share-pool")
    assert ran.code == 2
    assert ran.err.startswith("fb: A function that consumes in batches cannot share its pool.")


def test_the_breaker_opens_lets_one_try_and_closes(shop: Shell) -> None:
    shop.write("broken", "")
    push(shop, "flaky", range(40))
    how = ("--breaker", "3/1s", "--retries", "0", "--concurrency", "1")
    with Consuming(shop, "jobs:flaky", *how) as consumer:
        consumer.until(lambda: consumer.says("3 failed calls within 1 s"), "it to open")
        consumer.until(lambda: len(began(shop)) >= 5, "one to be tried after a while")
        times = [note.at for note in notes(shop, "begin")]
        assert len(times) <= 20
        assert max(later - earlier for earlier, later in itertools.pairwise(times)) > 0.8
        (shop.folder / "broken").unlink()
        consumer.until(lambda: len(began(shop)) == 40, "all to be run once it works again")
        assert consumer.stop() == 0
    assert len(bodies(shop, "flaky", dead=True)) <= 20


# limits for each key, batches


def test_so_many_at_once_for_each_customer(shop: Shell) -> None:
    raw(
        shop,
        "customer",
        *(message(f"t{n}", n=n, customer_id=n % 3, seconds=0.1) for n in range(24)),
    )
    with Consuming(
        shop, "jobs:customer", "--max-per-key", "customer_id=2", "--processes", "2"
    ) as consumer:
        consumer.until(
            lambda: sum(note.what.startswith("end") for note in notes(shop)) == 24, "all to end"
        )
        assert consumer.stop() == 0
    for customer_id in range(3):
        mine = sorted(
            (note for note in notes(shop) if note.what.endswith(str(customer_id))),
            key=lambda note: note.at,
        )
        running = itertools.accumulate(1 if note.what.startswith("begin") else -1 for note in mine)
        assert max(running) == 2
    assert size(shop, "customer") == Size(0, 0, 0)


def test_a_batch_is_one_call(shop: Shell) -> None:
    raw(shop, "rows", *(message(f"t{n}", n=n) for n in range(25)))
    shop.ok("consume", "jobs:rows", "--batch", "10", "--batch-wait", "0.2", "--burst", "--results")
    sizes = [note.n for note in notes(shop, "batch")]
    assert sum(sizes) == 25
    assert max(sizes) == 10
    saved = result(shop, "t7")
    assert saved is not None
    assert (saved.state, saved.value) == ("succeeded", 14)


def test_a_failed_batch_is_tried_one_by_one(shop: Shell) -> None:
    raw(shop, "rows", *(message(f"t{n}", n=n, bad=n == 3) for n in range(6)))
    ran = shop("consume", "jobs:rows", "--batch", "6", "--retries", "1", "--burst")
    assert ran.code == 8
    assert "trying its messages one by one" in ran.err
    assert sorted(note.n for note in notes(shop, "row")) == [0, 1, 2, 4, 5]
    (letter,) = bodies(shop, "rows", dead=True)
    assert (letter["n"], letter["extra"]["dead"]["attempts"]) == (3, 2)
    raw(shop, "rows", message("alone", n=21))
    shop("consume", "jobs:rows", "--batch", "6", "--burst", "--results")
    alone = result(shop, "alone")
    assert alone is not None
    assert alone.value == 42, "a batch of one is a batch, too"


@pytest.mark.parametrize("mode", ["threads", "process"])
def test_a_message_of_a_running_batch_can_be_cancelled(shop: Shell, mode: str) -> None:
    push(shop, "slow_rows", range(4))
    with Consuming(
        shop, "jobs:slow_rows", "--batch", "4", "--mode", mode, "--results", "--retries", "0"
    ) as consumer:
        consumer.until(lambda: [note.n for note in notes(shop, "batch")] == [4], "the batch to run")
        shop.ok("cancel", "t0", "t2")
        consumer.until(lambda: size(shop, "slow_rows") == Size(0, 0, 0), "all to be settled")
        assert consumer.stop() == 0
    assert sorted(note.n for note in notes(shop, "row")) == [1, 3]
    states = [saved.state for n in range(4) if (saved := result(shop, f"t{n}")) is not None]
    assert states == ["cancelled", "succeeded", "cancelled", "succeeded"]


def test_a_function_with_batches_takes_any_arguments_at_push(plain: Shell) -> None:
    plain.write("fb.toml", '[tasks."jobs:rows"]\nbatch = 10\n')
    plain.ok("push", "jobs:rows", "n=1", "text=x")
    plain.ok("consume", "jobs:rows", "--burst")
    assert [note.n for note in notes(plain, "row")] == [1]
    assert plain.ok("run", "jobs:rows", "n=4").out.strip() == "[8]"
    ran = plain("consume", "jobs:add2", "--batch", "5", "--burst")
    assert ran.code == 3


# what a function may raise


def test_the_function_decides_by_what_it_raises(shop: Shell) -> None:
    raw(shop, "verdict", message("r", n=1, how="retry"), message("d", n=2, how="dead"))
    shop("consume", "jobs:verdict", "--burst", "--results", "--retries", "5")
    assert Counter(began(shop)) == {1: 3, 2: 1}
    retried, dead = result(shop, "r"), result(shop, "d")
    assert retried is not None
    assert dead is not None
    assert retried.value == "attempt 3"
    assert (dead.state, dead.error_type, dead.error) == ("failed", "DeadLetter", "not for us")
    (letter,) = bodies(shop, "verdict", dead=True)
    assert letter["extra"]["dead"]["reason"] == "not for us"


def test_a_requeue_counts_no_attempt(shop: Shell) -> None:
    raw(shop, "verdict", message("q", n=1, how="requeue"))
    with Consuming(shop, "jobs:verdict", "--results", "--retries", "0") as consumer:
        consumer.until(lambda: result(shop, "q") is not None, "it to succeed")
        assert consumer.stop() == 0
    saved = result(shop, "q")
    assert saved is not None
    assert saved.value == "attempt 1"
    assert len(began(shop)) == 3


def test_retries_of_named_exceptions_only(shop: Shell) -> None:
    push(shop, "lookup", range(1))
    push(shop, "fails", range(1, 2))
    how = ("--retries", "2", "--burst", "--retry-on", "LookupError, ConnectionError")
    assert shop("consume", "jobs:lookup", "jobs:fails", *how).code == 1
    assert Counter(began(shop)) == {
        0: 3,
        1: 1,
    }, "KeyError is a LookupError, ValueError is none of them"


# cancel, timeout


def test_cancel_of_what_runs_and_of_what_waits(shop: Shell) -> None:
    push(shop, "hold", range(4))
    with Consuming(shop, "jobs:hold", "--concurrency", "2", "--results") as consumer:
        consumer.until(lambda: len(began(shop)) == 2, "two to run")
        running, waiting = began(shop)[0], ({0, 1, 2, 3} - set(began(shop))).pop()
        ran = shop.ok("cancel", f"t{running}", f"t{waiting}")
        assert "cancelled while running" in ran.out + ran.err
        wait_until(
            lambda: (
                (saved := result(shop, f"t{running}")) is not None and saved.state == "cancelled"
            ),
            "the running one",
        )
        shop.write("go", "")
        consumer.until(
            lambda: (
                (saved := result(shop, f"t{waiting}")) is not None and saved.state == "cancelled"
            ),
            "the other",
        )
        consumer.until(lambda: size(shop, "hold") == Size(0, 0, 0), "all to be settled")
        assert consumer.stop() == 0
    assert waiting not in began(shop)
    assert len(notes(shop, "end")) == 2
    assert bodies(shop, "hold", dead=True) == []


def test_a_call_in_c_that_outlives_its_timeout_is_left_behind(plain: Shell) -> None:
    push(plain, "stubborn", range(2))
    with Consuming(
        plain, "jobs:stubborn", "--timeout", "0.5", "--retries", "0", "--concurrency", "1"
    ) as consumer:
        consumer.until(
            lambda: len(bodies(plain, "stubborn", dead=True)) == 2,
            "both to be settled as timed out",
        )
        assert consumer.says("could not be interrupted")
        assert consumer.stop() == 0
    assert {
        letter["extra"]["dead"]["error_type"] for letter in bodies(plain, "stubborn", dead=True)
    } == {"TaskTimeout"}
    assert notes(plain, "end") == []


# pools, memory


def test_one_pool_for_several_functions(plain: Shell) -> None:
    push(plain, "hold", range(6))
    push(plain, "work", range(6, 9))
    with Consuming(
        plain, "jobs:hold", "jobs:work", "--concurrency", "4", "--share-pool"
    ) as consumer:
        consumer.until(lambda: bool(began(plain)) and side_by_side(plain) >= 4, "four to run")
        assert len(began(plain)) <= 4 + 3
        plain.write("go", "")
        consumer.until(lambda: len(notes(plain, "end")) == 9, "all to end")
        assert consumer.stop() == 0
    assert side_by_side(plain) == 4


def test_a_process_that_holds_too_much_is_replaced(plain: Shell) -> None:
    push(plain, "hoard", range(30), megabytes=20)
    with Consuming(plain, "jobs:hoard", "--max-memory", "200MB", "--concurrency", "1") as consumer:
        consumer.until(lambda: len(set(began(plain))) == 30, "all to run")
        assert consumer.says("draining, to be replaced")
        assert consumer.stop() == 0
    assert len(began(plain)) == 30, "none was run twice"
    assert len({note.pid for note in notes(plain)}) > 1


def test_config_show_says_where_a_control_comes_from(plain: Shell) -> None:
    plain.write(
        "fb.toml",
        '[defaults]\nbreaker = "5/60s"\n[tasks."jobs:work"]\nmax_per_key = "n=2"\nwindow ='
        ' "22:00-06:00"\n',
    )
    rows = {
        row["setting"]: row for row in plain.ok("config", "show", "jobs:work", "--json").objects
    }
    assert (rows["breaker"]["value"], rows["breaker"]["source"]) == ("5/60s", "fb.toml [defaults]")
    assert (rows["max_per_key"]["value"], rows["max_per_key"]["source"]) == (
        "n=2",
        'fb.toml [tasks."jobs:work"]',
    )
    assert rows["window"]["value"] == "22:00-06:00"
    assert rows["qps_scope"]["source"] == "built-in"


def test_only_the_message_that_kills_its_workers_is_blamed_for_it(shop: Shell) -> None:
    shop.ok("push", "jobs:deadly", "n=0", "kills=true")
    push(shop, "deadly", range(1, 9))
    options = (
        "--concurrency",
        "5",
        "--prefetch",
        "5",
        "--max-deliveries",
        "3",
        "--heartbeat",
        "0.5",
    )
    for _ in range(3):
        with Consuming(shop, "jobs:deadly", *options) as consumer:
            wait_until(
                lambda consumer=consumer: consumer.process.poll() is not None,
                "it to be killed by its task",
            )  # type: ignore[misc]
            assert consumer.process.returncode == -signal.SIGKILL
    with Consuming(shop, "jobs:deadly", *options) as consumer:
        consumer.until(lambda: size(shop, "deadly") == Size(0, 0, 0), "all to be settled")
    assert {note.n for note in notes(shop, "end")} == set(range(1, 9))
    (letter,) = bodies(shop, "deadly", dead=True)
    assert letter["n"] == 0
    assert "its worker died" in letter["extra"]["dead"]["reason"]
