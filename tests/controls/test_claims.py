"""Claims of tasks: taken once each, given back or marked by the token they were taken with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from fbcli.controls.base import Place
from fbcli.controls.claims import LEASE_BEATS, Claims
from fbcli.stores import open_store
from fbcli.stores.base import BUSY, DONE, GRANTED, Store, Writes
from fbcli.stores.writes import Free, Mark
from fbcli.task import Task
from tests.engine.factories import Clock, plan, tasks

KIND = plan()


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with closing(open_store(f"memory://{request.node.name}")) as store:
        yield store


def claims(store: Store, owner: str = "me", space: str = "s", limit: int = 1) -> Claims:
    return Claims(store, space, owner, lease=60.0, limit=limit)


def written(store: Store, writes: Writes) -> None:
    store.write(writes)


def test_a_key_is_granted_to_one_at_a_time(store: Store) -> None:
    mine, theirs = claims(store), claims(store, "they")
    a, b = tasks(KIND, "a", "b")
    assert mine.take([a], ["k"]) == [GRANTED]
    assert theirs.take([b], ["k"]) == [BUSY]
    assert (a.claims, b.claims) == ({"s": "k"}, None)
    written(store, _freed(mine, a))
    assert theirs.take([b], ["k"]) == [GRANTED]


def test_so_many_as_the_limit_says(store: Store) -> None:
    two = claims(store, limit=2)
    assert two.take(tasks(KIND, "a", "b", "c"), ["k", "k", "k"]) == [GRANTED, GRANTED, BUSY]


def test_nothing_is_asked_for_that_a_task_holds_already(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = claims(store)
    a, b, c = tasks(KIND, "a", "b", "c")
    assert mine.take([a, b, c], ["k", "k", "l"]) == [GRANTED, BUSY, GRANTED]
    asked: list[list[str]] = []
    claim = store.claim

    def noting(space: str, keys: list[str], *rest: object, **how: object) -> object:
        asked.append(list(keys))
        return claim(space, keys, *rest, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "claim", noting)
    assert mine.take([c, b, a], ["l", "k", "k"]) == [GRANTED, BUSY, GRANTED], "in their order"
    assert asked == [["k"]]


def test_a_task_keeps_its_token(store: Store) -> None:
    """What is asked of the store may be asked again when its answer was lost."""
    mine = claims(store)
    (a,) = tasks(KIND, "a")
    mine.take([a], ["k"])
    token, a.claims = a.token, None
    assert token
    assert mine.take([a], ["k"]) == [GRANTED], "it is its own claim that it finds"
    assert a.token == token
    other, another = tasks(KIND, "b", "c")
    mine.take([other, another], ["x", "y"])
    assert len({token, other.token, another.token}) == 3


def test_what_is_marked_is_done(store: Store) -> None:
    mine = claims(store)
    a, b = tasks(KIND, "a", "b")
    mine.take([a], ["k"])
    writes = Writes()
    mine.mark([a], None, writes)
    assert writes.all == [Mark("s", "me", ["k"], [a.token], None)]
    written(store, writes)
    written(store, writes)
    assert mine.take([b], ["k"]) == [DONE]


def test_only_what_is_held_is_given_back(store: Store) -> None:
    mine, elsewhere = claims(store), claims(store, space="t")
    a, b, c = tasks(KIND, "a", "b", "c")
    mine.take([a, b], ["k", "k"])
    elsewhere.take([c], ["k"])
    writes = Writes()
    mine.free([a, b, c], writes)
    assert writes.all == [Free("s", "me", ["k"], [a.token])]
    nothing = Writes()
    mine.free([b, c], nothing)
    mine.mark([b, c], 5.0, nothing)
    assert not nothing


def test_claims_in_several_spaces(store: Store) -> None:
    first, second = claims(store), claims(store, space="t")
    (a,) = tasks(KIND, "a")
    first.take([a], ["k"])
    second.take([a], ["l"])
    assert a.claims == {"s": "k", "t": "l"}


def test_the_lease_is_as_long_as_the_heartbeat_wants(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases: list[float] = []
    claim = store.claim

    def noting(*asked: object, **how: object) -> object:
        leases.append(float(str(how["lease"])))
        return claim(*asked, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "claim", noting)
    made = Claims.at(Place("q", store, "me", 1.5, Clock()), "s")
    made.take(tasks(KIND, "a"), ["k"])
    assert leases == [1.5 * LEASE_BEATS]


def _freed(held: Claims, *ended: Task) -> Writes:
    writes = Writes()
    held.free(ended, writes)
    return writes
