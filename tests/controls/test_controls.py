"""Controls with a clock of their own: nothing here waits."""

from __future__ import annotations

import itertools
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbcli.broker import Delivery
from fbcli.controls.base import Drop, Later
from fbcli.controls.delay import Delay
from fbcli.controls.expiry import Expiry
from fbcli.controls.pause import Pause
from fbcli.controls.rate import HOLD, SLACK, Rate
from fbcli.controls.retry import HOLD_SLOT, RetryPolicy
from fbcli.errors import DeadLetter, Requeue, Retry, TaskTimeout
from fbcli.options.model import Options
from fbcli.task import FAILED, REQUEUED, RETRY, Task


def task(**extra: object) -> Task:
    return Task(Delivery(b"", 0), "t1", {}, extra, None)


def starts(rate: Rate, times: list[float]) -> list[float]:
    """Ask at each of these times and start all that may start; return when each start was."""
    started = []
    for now in times:
        room = rate.startable(now, 1000).room
        started += [now] * room
        if room:
            rate.started(room, now)
    return started


@given(st.floats(0.01, 10_000))
def test_rate_is_exact_in_the_long_run_and_never_bursts(qps: float) -> None:
    rate = Rate(qps)
    now, started = 100.0, []
    for _ in range(300):
        opening = rate.startable(now, 1000)
        if opening.room:
            rate.started(opening.room, now)
            started.append((now, opening.room))
            opening = rate.startable(now, 1000)
        now = max(now, opening.again)
    total = sum(count for _, count in started)
    elapsed = started[-1][0] - started[0][0]
    assert all(count == 1 for _, count in started)
    assert total - 1 == pytest.approx(elapsed * qps, rel=1e-6)


def test_rate_makes_up_for_late_wake_ups() -> None:
    chance = random.Random(1)
    ideal = [i / 50 for i in range(1000)]
    times = sorted(at + chance.uniform(0, 0.004) for at in ideal)
    started = starts(Rate(50), times)
    assert len(started) >= 999
    gaps = [b - a for a, b in itertools.pairwise(started)]
    assert statistics.mean(gaps) == pytest.approx(0.02, rel=0.005)


def test_rate_does_not_burst_after_a_pause_of_the_supply() -> None:
    rate = Rate(10)
    assert starts(rate, [0.0]) == [0.0]
    assert rate.startable(60.0, 1000).room == 1, "a minute without work is not made up for"


def test_rate_holds_half_a_second_of_work() -> None:
    rate = Rate(10)
    rate.started(rate.startable(0.0, 1000).room, 0.0)
    assert rate.fetchable(0.0).room == pytest.approx(HOLD * 10, abs=1)
    opening = rate.fetchable(0.0)
    assert opening.again > 0.0, (
        "there is no more room at once: asking again now would be a busy loop"
    )
    assert rate.fetchable(opening.again + 1e-9).room == opening.room + 1
    slow = Rate(0.01)
    slow.started(slow.startable(0.0, 1000).room, 0.0)
    assert slow.fetchable(1.0).room == 0, "a message is not held for 99 seconds"
    assert slow.fetchable(1.0).again == pytest.approx(100 - HOLD)
    assert slow.fetchable(100 - HOLD).room == 1
    assert SLACK < HOLD


@given(st.integers(1, 50), st.floats(0.01, 100), st.floats(0.01, 1000))
def test_backoff_doubles_with_jitter_and_is_capped(attempt: int, base: float, most: float) -> None:
    whole = min(max(base, most), base * 2 ** (attempt - 1))
    assert whole / 2 <= RetryPolicy(100, base, most).wait(attempt) <= whole


def test_what_follows_a_failure() -> None:
    policy = RetryPolicy(2, 0, 600)
    assert policy.after(ValueError(), 1) == (RETRY, 0.0, True)
    assert policy.after(ValueError(), 3).state == FAILED
    assert policy.after(DeadLetter("no"), 1).state == FAILED
    assert policy.after(Requeue(after=5), 9) == (REQUEUED, 5, False)
    assert policy.after(Retry(after=HOLD_SLOT), 1).here
    assert not policy.after(Retry(after=HOLD_SLOT + 0.1), 1).here, "a long wait holds no slot"


def made(module: str, name: str, *bases: type[Exception]) -> type[Exception]:
    """Return an exception class as a library would define it."""
    return type(
        name.rpartition(".")[2], bases or (Exception,), {"__module__": module, "__qualname__": name}
    )


Timeout = made("requests.exceptions", "Timeout", OSError)
ReadTimeout = made("requests.exceptions", "ReadTimeout", Timeout)
Nested = made("shop.client", "Client.Error")


@pytest.mark.parametrize(
    ("names", "retried", "failed"),
    [
        (
            "ConnectionError",
            [ConnectionError(), ConnectionResetError()],
            [OSError(), ValueError(), Timeout()],
        ),
        (
            "builtins.ConnectionError",
            [BrokenPipeError()],
            [made("redis.exceptions", "ConnectionError")()],
        ),
        (
            "requests.exceptions.Timeout",
            [Timeout(), ReadTimeout()],
            [TimeoutError(), made("httpx", "Timeout")()],
        ),
        (
            "requests.Timeout",
            [Timeout(), ReadTimeout()],
            [made("requests_like", "Timeout")(), OSError()],
        ),
        ("exceptions.Timeout", [Timeout()], [made("other_exceptions", "Timeout")()]),
        ("Timeout", [Timeout(), ReadTimeout(), TaskTimeout()], [TimeoutError()]),
        ("TaskTimeout", [TaskTimeout()], [TimeoutError(), Timeout()]),
        ("fbcli.TaskTimeout", [TaskTimeout()], [Timeout()]),
        ("TimeoutError", [TimeoutError()], [TaskTimeout(), Timeout()]),
        (
            "socket.timeout, IOError",
            [TimeoutError(), FileNotFoundError()],
            [TaskTimeout(), ValueError()],
        ),
        ("Client.Error", [Nested()], [made("shop.client", "Error")()]),
        ("Error, ValueError", [Nested(), UnicodeDecodeError("utf-8", b"", 0, 1, "")], [KeyError()]),
        ("Exception", [ValueError(), TaskTimeout(), Timeout()], [KeyboardInterrupt()]),
        ("rror", [], [ValueError()]),
        ("", [], [ValueError()]),
    ],
)
def test_only_what_is_named_is_tried_again(
    names: str, retried: list[BaseException], failed: list[BaseException]
) -> None:
    policy = RetryPolicy(2, 0, 600, Options(retry_on=names).retry_on)  # type: ignore[arg-type]  text is converted
    assert [policy.after(error, 1).state for error in retried + failed] == [RETRY] * len(
        retried
    ) + [FAILED] * len(failed)
    assert {policy.after(error, 3).state for error in retried} <= {FAILED}, "and not for ever"


def test_what_a_function_asks_for_needs_no_name() -> None:
    policy = RetryPolicy(2, 0, 600, ("ConnectionError",))
    assert policy.after(Retry(after=0.5), 1) == (RETRY, 0.5, True)
    assert policy.after(Requeue(after=5), 9) == (REQUEUED, 5, False)
    assert policy.after(DeadLetter("no"), 1).state == FAILED
    assert RetryPolicy(2, 0, 600, ("DeadLetter",)).after(DeadLetter("no"), 1).state == FAILED


def test_an_error_from_another_process_carries_its_classes_as_names() -> None:
    policy = RetryPolicy(2, 0, 600, ("requests.Timeout",))
    error = RuntimeError("as raised in the child")
    assert policy.after(error, 1).state == FAILED
    error.lineage = (
        "requests.exceptions.ReadTimeout",
        "requests.exceptions.Timeout",
        "builtins.OSError",
    )  # type: ignore[attr-defined]
    assert policy.after(error, 1).state == RETRY
    assert RetryPolicy(2, 0, 600, ("RuntimeError",)).after(error, 1).state == FAILED, (
        "what carries it does not count"
    )


def test_expiry() -> None:
    expiry = Expiry(15)
    batch = [
        task(publish_time=100.0),
        task(publish_time=99.8),
        task(),
        task(publish_time="yesterday"),
    ]
    assert expiry.admit(batch, 115.0) == [
        None,
        Drop("expired: published 15 s ago, its limit is 15 s"),
        None,
        None,
    ]
    assert [verdict is None for verdict in expiry.admit(batch, 1e12)] == [False, False, True, True]


def test_delay() -> None:
    batch = [task(delay_until=200.0), task(delay_until=100.0), task(), task(delay_until="soon")]
    assert Delay().admit(batch, 100.0) == [Later(200.0), None, None, None]
    assert Delay().admit(batch, 200.0) == [None, None, None, None]


def test_pause_ends_by_itself_or_by_resume() -> None:
    pause = Pause()
    assert pause.fetchable(0.0).room > 1000
    assert pause.set(10.0, now=0.0)
    assert pause.closed(5.0)
    assert pause.shut(5.0) == ("paused", "goes on in 5 s")
    assert pause.fetchable(5.0) == (0, 10.0)
    assert pause.fetchable(10.0).room > 1000
    assert not pause.closed(10.0)
    assert pause.shut(10.0) is None
    pause.set(None, now=20.0)
    assert pause.fetchable(1e9).room == 0
    assert pause.shut(1e9) == ("paused", "")
    assert not pause.set(None, now=21.0), "said again, it is no news"
    assert pause.lift()
    assert not pause.lift()
