"""What becomes of each outcome, and the order that loses nothing: recorded first, then settled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import msgspec
import pytest

from fbcli.broker import Action, Delivery, Inbox, Settlement
from fbcli.controls.base import ALL_MAY, Admission, Verdict
from fbcli.engine.settler import HOST, Settler, release
from fbcli.errors import Unavailable
from fbcli.stores import open_store
from fbcli.stores.base import Store, Writes
from fbcli.task import (
    CANCELLED,
    DROPPED,
    FAILED,
    RELEASED,
    REQUEUED,
    RETRY,
    SUCCEEDED,
    Failure,
    Task,
)
from tests.engine.factories import Clock, message, plan, tasks


class FakeInbox(Inbox):
    """Notes what it is asked to settle, and in what order with the store's writes."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.settled: list[Settlement] = []
        self.also: object = None
        self.late_ones: list[Settlement] = []

    def fetch(self, limit: int, wait: float) -> list[Delivery]:
        return []

    def settle(
        self, settlements: Sequence[Settlement], also: object = None
    ) -> Sequence[Settlement]:
        self.log.append("settled")
        self.settled += settlements
        self.also = also
        return self.late_ones

    def wake(self) -> None: ...

    def keep_alive(self) -> int:
        return 0

    def close(self) -> None: ...


class Bench:
    """A settler, and what it works with."""

    def __init__(self, store: Store, *, together: bool = False) -> None:
        self.log: list[str] = []
        self.inbox = FakeInbox(self.log)
        self.store = store
        self.clock = Clock()
        self.settler = Settler("q", self.inbox, store, self.clock, together=together)

    def settle(self, *ended: Task) -> list[Settlement]:
        self.inbox.settled = []
        self.settler.settle(ended)
        return self.inbox.settled


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    with closing(open_store("memory://settler")) as store:

        def make(**how: Any) -> Bench:
            bench = Bench(store, **how)
            write = store.write

            def noting(writes: Writes) -> None:
                bench.log.append("written")
                write(writes)

            store.write = noting  # type: ignore[method-assign]
            return bench

        yield make


def task(state: int, *, failure: Failure | None = None, task_id: str = "t", **given: Any) -> Task:
    keeps = given.pop("keeps", False)
    delay = given.pop("delay", 0.0)
    (made,) = tasks(plan(keeps=keeps, **given), task_id)
    made.state, made.failure, made.delay = state, failure, delay
    made.attempt = 2
    return made


def extra_of(settlement: Settlement) -> dict[str, Any]:
    assert settlement.body is not None
    extra: dict[str, Any] = msgspec.json.decode(settlement.body)["extra"]
    return extra


@pytest.mark.parametrize("state", [SUCCEEDED, DROPPED, CANCELLED])
def test_what_has_ended_well_or_is_not_wanted_is_acknowledged(
    bench: Callable[..., Bench], state: int
) -> None:
    ended = task(state)
    (settlement,) = bench().settle(ended)
    assert settlement == Settlement(ended.delivery)


def test_a_failure_is_buried_with_its_reason(bench: Callable[..., Bench]) -> None:
    on = bench()
    (settlement,) = on.settle(task(FAILED, failure=Failure("ValueError", "no", "trace")))
    assert settlement.action == Action.BURY
    extra = extra_of(settlement)
    assert extra["task_id"] == "t"
    assert extra["dead"] == {
        "reason": "no",
        "error_type": "ValueError",
        "traceback": "trace",
        "attempts": 2,
        "deliveries": 1,
        "queue": "q",
        "host": HOST,
        "time": on.clock.at,
    }


def test_a_failure_of_which_nothing_is_kept_is_acknowledged(bench: Callable[..., Bench]) -> None:
    (settlement,) = bench().settle(task(FAILED, failure=Failure("E", "no"), dead=False))
    assert (settlement.action, settlement.body) == (Action.ACK, None)


def test_a_retry_goes_back_with_its_attempts(bench: Callable[..., Bench]) -> None:
    ended = task(RETRY, delay=5.0)
    ended.delivery = Delivery(message("t", 1, delay_until=7.0, publish_time=3.0), None)
    (settlement,) = bench().settle(ended)
    assert (settlement.action, settlement.delay) == (Action.RELEASE, 5.0)
    assert extra_of(settlement) == {"task_id": "t", "publish_time": 3.0, "attempts": 2}


@pytest.mark.parametrize("state", [RELEASED, REQUEUED])
def test_what_goes_back_stays_as_it_is(bench: Callable[..., Bench], state: int) -> None:
    ended = task(state, delay=1.5)
    assert bench().settle(ended) == [
        Settlement(ended.delivery, Action.RELEASE, 1.5),
    ]
    assert release(task(SUCCEEDED)).state == RELEASED


def test_results_are_written_before_anything_is_settled(bench: Callable[..., Bench]) -> None:
    on = bench()
    kept, other = task(SUCCEEDED, keeps=True, task_id="kept"), task(SUCCEEDED, task_id="other")
    kept.value, kept.seconds = {"a": [1]}, 0.5
    failed = task(FAILED, keeps=True, task_id="failed", failure=Failure("E", "no", "trace"))
    on.settle(kept, other, failed)
    assert on.log == ["written", "settled"]
    found = on.store.results_of(["kept", "other", "failed"])
    assert set(found) == {"kept", "failed"}
    result = found["kept"]
    assert (result.state, result.value, result.queue) == ("succeeded", {"a": [1]}, "q")
    assert (result.started, result.finished) == (on.clock.at - 0.5, on.clock.at)
    assert (found["failed"].error, found["failed"].attempts) == ("no", 2)


def test_of_what_was_cancelled_a_result_is_always_kept(bench: Callable[..., Bench]) -> None:
    on = bench()
    on.settle(task(CANCELLED, task_id="c", failure=Failure("Cancelled", "before it started")))
    result = on.store.result("c")
    assert result is not None
    assert result.state == "cancelled"


@pytest.mark.parametrize("state", [RETRY, REQUEUED, RELEASED])
def test_what_is_not_over_has_no_result(bench: Callable[..., Bench], state: int) -> None:
    on = bench()
    on.settle(task(state, keeps=True, task_id="n"))
    assert on.store.result("n") is None


def test_nothing_is_settled_while_the_store_is_away(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    on, ended = bench(), task(SUCCEEDED, keeps=True)

    def away(writes: Writes) -> None:
        raise Unavailable("it is away")

    with monkeypatch.context() as patch:
        patch.setattr(on.store, "write", away)
        with pytest.raises(Unavailable):
            on.settle(ended)
    assert on.inbox.settled == []
    assert len(on.settle(ended)) == 1, "the same batch is given again"
    assert on.store.result("t") is not None


def test_where_broker_and_store_are_one_the_writes_go_along(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    on = bench(together=True)
    prepared: list[Writes] = []
    monkeypatch.setattr(on.store, "prepared", lambda writes: prepared.append(writes) or "prepared")
    on.settle(task(SUCCEEDED, keeps=True))
    assert on.inbox.also == "prepared"
    assert on.log == ["settled"], "in one round trip"
    assert bool(prepared[0])


def test_what_came_too_late_is_returned(bench: Callable[..., Bench]) -> None:
    on, ended = bench(), task(SUCCEEDED)
    on.inbox.late_ones = [Settlement(ended.delivery)]
    assert on.settler.settle([ended]) == [Settlement(ended.delivery)]


class Closer(Admission):
    """A control that gives something back."""

    def __init__(self) -> None:
        self.closed: list[list[str]] = []

    def admit(self, tasks: Sequence[Task], now: float) -> Sequence[Verdict]:
        return ALL_MAY

    def close(self, tasks: Sequence[Task], writes: Writes) -> None:
        self.closed.append([task.task_id for task in tasks])
        writes.free("space", ["key"] * len(tasks), [task.task_id for task in tasks], owner="me")


class Bystander(Admission):
    """One that has nothing to give back, and must not be asked."""

    def admit(self, tasks: Sequence[Task], now: float) -> Sequence[Verdict]:
        return ALL_MAY


def test_controls_give_back_what_they_took_together_with_the_results(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    on, closer = bench(), Closer()
    written: list[Writes] = []
    monkeypatch.setattr(on.store, "write", written.append)
    controlled = plan(admissions=[closer, Bystander()], keeps=True)
    plain = plan()
    ended = [*tasks(controlled, "a", "b"), *tasks(plain, "c"), *tasks(controlled, "d")]
    for each in ended:
        each.state = SUCCEEDED
    on.settle(*ended)
    assert closer.closed == [["a", "b", "d"]], "once for all that have its plan"
    assert [type(each).__name__ for each in written[0].all] == ["Save", "Free"]
