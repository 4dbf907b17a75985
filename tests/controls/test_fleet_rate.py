"""The shared rate: gates of several processes on one grid, in simulated time."""

from __future__ import annotations

import random
import threading

import pytest

from fbcli.controls.fleet_rate import AHEAD, LEASE, LONG, SLACK, FleetRate
from fbcli.errors import Unavailable
from fbcli.stores import grid
from fbcli.stores.base import Tokens
from tests.servers import wait_until


class World:
    """Real time, which no process knows: each has a monotonic clock that began at another
    moment."""

    def __init__(self) -> None:
        self.at = 1e6


class LocalClock:
    def __init__(self, world: World, began: float) -> None:
        self.world = world
        self.began = began

    def now(self) -> float:
        return self.world.at

    def monotonic(self) -> float:
        return self.world.at - self.began


class GridStore:
    """What a store does for a shared rate, in memory."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.grid: grid.Grid | None = None
        self.asked = 0

    def take_tokens(
        self, key: str, qps: float, count: int, *, ahead: float, slack: float
    ) -> Tokens:
        assert count >= 1
        self.asked += 1
        tokens, self.grid = grid.take(
            self.grid, self.world.at, qps, count, ahead=ahead, slack=slack
        )
        return tokens


class Member:
    """A process with more to do than it may. Its gate's thread is the test: it asks the store, and
    the answer takes `trip` seconds."""

    def __init__(
        self,
        world: World,
        store: GridStore,
        qps: float,
        trip: float,
        began: float = 0.0,
        at_hand: int = 1000,
    ) -> None:
        self.world = world
        self.store = store
        self.trip = trip
        self.at_hand = at_hand
        self.clock = LocalClock(world, began)
        self.gate = FleetRate("k", qps, store, lambda: None, self.clock)  # type: ignore[arg-type]  all of a store that it uses
        self.gate._thread = threading.current_thread()
        self.asked: float | None = None
        self.answer: Tokens | None = None
        self.starts: list[float] = []

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    def step(self) -> None:
        """Do what a turn of the intake does, and let the store's answer go on its way."""
        now, gate = self.now, self.gate
        if self.asked is None and gate._wanted:
            self.asked = now
        if self.asked is not None and self.answer is None and now >= self.asked + self.trip / 2:
            self.answer = self.store.take_tokens(
                "k", gate.qps, gate._wanted, ahead=AHEAD, slack=SLACK
            )
        if self.asked is not None and self.answer is not None and now >= self.asked + self.trip:
            gate.grant(self.answer, self.asked, now)
            self.asked = self.answer = None
        count = min(self.at_hand, gate.startable(now, self.at_hand).room)
        if count:
            gate.started(count, now)
            self.starts += [self.world.at] * count


class Fleet:
    def __init__(self, qps: float, trip: float = 0.001, seed: int = 1) -> None:
        self.world = World()
        self.store = GridStore(self.world)
        self.qps = qps
        self.trip = trip
        self.chance = random.Random(seed)
        self.members: list[Member] = []
        self.gone: list[Member] = []

    def join(self) -> Member:
        member = Member(self.world, self.store, self.qps, self.trip, self.chance.uniform(0, 1e5))
        self.members.append(member)
        return member

    def die(self, member: Member) -> None:
        self.members.remove(member)
        self.gone.append(member)

    def run(self, seconds: float, turn: float = 0.002) -> None:
        """Let time pass. Each process takes its turn about every `turn` seconds."""
        end = self.world.at + seconds
        while self.world.at < end:
            self.world.at += turn / len(self.members) * self.chance.uniform(0.5, 1.5)
            self.chance.choice(self.members).step()

    def starts(self, since: float = 0.0) -> list[float]:
        """Return the times of all starts since the world began so many seconds ago."""
        return sorted(
            at for member in self.members + self.gone for at in member.starts if at >= 1e6 + since
        )


def worst_second(starts: list[float]) -> int:
    """Return the most starts in any second."""
    worst = first = 0
    for last, at in enumerate(starts):
        while at - starts[first] >= 1.0:
            first += 1
        worst = max(worst, last - first + 1)
    return worst


@pytest.mark.parametrize("trip", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("members", [1, 3, 10])
@pytest.mark.parametrize("qps", [100.0, 500.0])
def test_the_rate_is_exact_however_many_share_it(qps: float, members: int, trip: float) -> None:
    fleet = Fleet(qps, trip)
    for _ in range(members):
        fleet.join()
    fleet.run(1.0)
    fleet.run(5.0)
    starts = fleet.starts(since=1.0)
    assert len(starts) == pytest.approx(5.0 * qps, rel=0.01)
    assert worst_second(starts) <= 1.05 * qps
    assert min(len(member.starts) for member in fleet.members) > 0.2 * len(starts) / members, (
        "each has its share"
    )
    assert fleet.store.asked / 6.0 <= 2 * (members + 1) / LEASE, "and the store its peace"


@pytest.mark.parametrize("qps", [0.5, 3.0, 7.0, 30.0])
@pytest.mark.parametrize("members", [1, 4])
def test_low_rates_are_exact_too(qps: float, members: int) -> None:
    fleet = Fleet(qps)
    for _ in range(members):
        fleet.join()
    fleet.run(20.0)
    starts = fleet.starts()
    assert len(starts) == pytest.approx(20.0 * qps, abs=1.0)
    assert worst_second(starts) <= qps + 1


def test_who_joins_gets_a_share_of_the_same_rate() -> None:
    fleet = Fleet(200.0)
    fleet.join()
    fleet.run(3.0)
    late = fleet.join()
    fleet.run(3.0)
    assert len(fleet.starts(since=0.5)) == pytest.approx(5.5 * 200, rel=0.01)
    assert worst_second(fleet.starts()) <= 1.05 * 200
    assert 0.2 * 600 < len(late.starts) < 0.8 * 600


def test_of_who_dies_a_lease_is_lost_and_the_others_go_on() -> None:
    fleet = Fleet(200.0)
    victim = fleet.join()
    fleet.join()
    fleet.run(3.0)
    fleet.die(victim)
    died, held = fleet.world.at - 1e6, len(victim.gate._slots)
    assert 0 < held <= 200 * LEASE
    fleet.run(3.0)
    assert worst_second(fleet.starts()) <= 1.05 * 200
    assert len(fleet.starts(since=died)) == pytest.approx(600 - held, abs=6)


def test_slots_lie_evenly() -> None:
    fleet = Fleet(50.0)
    fleet.join()
    fleet.run(4.0, turn=0.0005)
    starts = fleet.starts()
    ideal = [starts[0] + number / 50 for number in range(len(starts))]
    assert max(abs(at - due) for at, due in zip(starts, ideal, strict=True)) < 0.005


def member(qps: float, trip: float = 0.0) -> Member:
    world = World()
    return Member(world, GridStore(world), qps, trip)


def settle(member: Member) -> None:
    """Let the member ask, and have its answer."""
    member.step()
    member.step()


def test_a_slot_far_ahead_is_refused_and_nothing_is_held_meanwhile() -> None:
    world = World()
    store = GridStore(world)
    one, other = Member(world, store, 0.1, 0.0), Member(world, store, 0.1, 0.0, began=500.0)
    settle(one)
    assert len(one.starts) == 1
    settle(other)
    assert other.starts == []
    assert other.gate.closed(other.now), "ten seconds: its messages go back"
    assert other.gate.fetchable(other.now) == (0, pytest.approx(other.now + 10 - AHEAD))
    assert other.gate.startable(other.now, 1) == (
        0,
        pytest.approx(other.now + 10 - AHEAD),
    ), "when to ask again"
    asked = store.asked
    world.at += 10 - AHEAD - LONG - 0.01
    settle(other)
    assert other.gate.closed(other.now)
    world.at += 0.02
    assert not other.gate.closed(other.now), "soon enough to hold a message"
    settle(other)
    assert store.asked == asked, "it was told when there is one"
    world.at = 1e6 + 10 - AHEAD + 0.001
    settle(other)
    assert store.asked == asked + 1
    assert other.gate.startable(other.now, 1) == (0, pytest.approx(other.now + AHEAD - 0.001))
    assert other.gate.fetchable(other.now).room >= 1
    assert other.starts == []
    world.at = 1e6 + 10.001
    other.step()
    assert other.starts == [1e6 + 10.001]


def test_a_slot_is_lost_when_its_time_has_passed() -> None:
    late = member(10.0)
    settle(late)
    assert late.starts == [1e6]
    settle(late)
    due = late.gate.startable(late.now, 1).again
    assert due == pytest.approx(late.now + 0.1)
    assert late.gate.startable(due + SLACK - 0.001, 1).room == 1, "a little late is made up for"
    assert late.gate.startable(due + SLACK + 0.001, 1).room == 0, "later it would exceed the rate"


def test_a_pause_of_the_supply_is_not_followed_by_a_burst() -> None:
    fleet = Fleet(100.0)
    fleet.join()
    fleet.run(1.0)
    fleet.world.at += 60.0
    begin = fleet.world.at - 1e6
    fleet.run(1.0)
    assert 90 <= len(fleet.starts(since=begin)) <= 105


def test_it_leases_no_more_than_it_has_tasks_for() -> None:
    two = member(1000.0)
    two.at_hand = 2
    two.step()
    assert two.gate._wanted == 2
    many = member(1000.0)
    many.step()
    assert many.gate._wanted == 1000 * LEASE


def test_it_has_work_at_hand_for_what_it_may_lease() -> None:
    one = member(200.0)
    assert one.gate.fetchable(one.now).room == 200 * LEASE
    settle(one)
    assert one.gate.fetchable(one.now).room >= 200 * LEASE


class FlakyStore:
    """Cannot be reached at first."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    def take_tokens(
        self, key: str, qps: float, count: int, *, ahead: float, slack: float
    ) -> Tokens:
        self.calls += 1
        if self.calls <= self.failures:
            raise Unavailable("The store does not answer.")
        return Tokens(count, 0.0)


def test_its_thread_asks_until_the_store_answers(caplog: pytest.LogCaptureFixture) -> None:
    store = FlakyStore(failures=2)
    woken = threading.Event()
    gate = FleetRate("k", 100.0, store, woken.set)  # type: ignore[arg-type]  all of a store that it uses
    try:
        assert gate.startable(gate._clock.monotonic(), 5).room == 0
        assert woken.wait(10.0), "the intake is woken once there is an answer"
        assert store.calls == 3
        assert gate.fetchable(gate._clock.monotonic()).room >= 5
        assert caplog.messages == [
            "The store does not answer. Nothing starts until the shared rate is known again."
        ], "said once"
    finally:
        gate.close()
        thread = gate._thread
    assert thread is not None
    wait_until(lambda: not thread.is_alive(), "the thread ends with the gate")


def test_without_work_it_asks_nobody() -> None:
    store = FlakyStore(failures=0)
    gate = FleetRate("k", 100.0, store, lambda: None)  # type: ignore[arg-type]  all of a store that it uses
    assert gate.fetchable(0.0).room == 100 * LEASE
    gate.close()
    assert store.calls == 0
    assert gate._thread is None
