"""What is made up for above a poorer broker, beyond the contract: what becomes of half of a batch,
of late settlements, and of a store that is not there."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fbcli.broker import Action, Broker, Delivery, Inbox, Outgoing, Settlement
from fbcli.broker_registry import open_broker
from fbcli.brokers.memory import MemoryBroker
from fbcli.emulation import cautions, emulated
from fbcli.emulation.broker import ROOM_FOR_DEATH
from fbcli.errors import BadMessage, PartlyPublished, Unavailable, Unsupported
from fbcli.stores import open_store
from fbcli.stores.base import Parked, Store
from tests.contract.minimal import MinimalBroker
from tests.servers import wait_until

LATER = 4e9


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(f"sqlite:///{tmp_path}/store.db")) as store:
        yield store


Wrap = Callable[[Broker], Broker]


@pytest.fixture
def wrap(store: Store) -> Iterator[Wrap]:
    opened: list[Broker] = []

    def wrap(broker: Broker) -> Broker:
        opened.append(emulated(broker, lambda what: store))
        return opened[-1]

    yield wrap
    for broker in opened:
        broker.close()


def poorer(**lacks: Any) -> MemoryBroker:
    """Return a broker that says it lacks something."""
    broker = MemoryBroker("memory://")
    broker.capabilities = replace(broker.capabilities, **lacks)
    return broker


def opened(broker: Broker, queue: str = "q") -> Inbox:
    return broker.open(queue, consumer_id="c", prefetch=10, lease=60)


def ready(broker: Broker, queue: str) -> list[bytes]:
    return broker.peek(queue, 100)


def test_a_broker_that_lacks_nothing_is_not_wrapped(wrap: Wrap) -> None:
    broker = MemoryBroker("memory://")
    assert wrap(broker) is broker


@pytest.mark.parametrize(
    "lacks",
    [
        {"delay_publish": 900.0},
        {"delay_release": 0},
        {"delay_view": False},
        {"rewrite": False},
        {"release": "none"},
        {"release": "front"},
        {"max_bytes": 1_000_000},
    ],
)
def test_one_that_lacks_something_is(wrap: Wrap, lacks: dict[str, Any]) -> None:
    broker = poorer(**lacks)
    assert wrap(broker) is not broker


# what is natively possible stays native


def test_a_delay_within_what_the_server_can_is_left_to_it(wrap: Wrap, store: Store) -> None:
    inner = poorer(delay_publish=900.0)
    broker = wrap(inner)
    now = time.time()
    broker.publish("q", [Outgoing(b"soon", not_before=now + 60)])
    broker.publish("q", [Outgoing(b"late", not_before=now + 3600)])
    assert [each.body for each in inner.delayed("q", 9)] == [b"soon"]
    assert store.parked_count("q", "memory") == 1
    listed = broker.delayed("q", 9)
    assert [each.body for each in listed] == [b"soon", b"late"]
    size = broker.size("q")
    assert (size.ready, size.delayed) == (0, 2)
    assert broker.undelay("q", [each.handle for each in listed]) == 2
    assert broker.delayed("q", 9) == []


def test_a_release_within_what_the_server_can_is_left_to_it(wrap: Wrap, store: Store) -> None:
    inner = poorer(delay_release=900.0)
    broker = wrap(inner)
    broker.publish("q", [Outgoing(b"0"), Outgoing(b"1")])
    with closing(opened(broker)) as inbox:
        soon, late = inbox.fetch(2, 1)
        assert not inbox.settle(
            [Settlement(soon, Action.RELEASE, 60), Settlement(late, Action.RELEASE, 3600)]
        )
    assert [each.body for each in inner.delayed("q", 9)] == [b"0"]
    assert store.parked_count("q", "memory") == 1


def test_what_nobody_could_list_in_the_server_waits_in_the_store(wrap: Wrap, store: Store) -> None:
    broker = wrap(poorer(delay_view=False))
    broker.publish("q", [Outgoing(b"x", not_before=time.time() + 60)])
    assert store.parked_count("q", "memory") == 1
    assert [each.body for each in broker.delayed("q", 9)] == [b"x"]


def test_without_a_store_that_all_share_the_server_keeps_it() -> None:
    inner = poorer(delay_view=False, delay_publish=900.0)

    def refuse(what: str) -> Store:
        raise Unsupported(f"cannot {what}")

    with closing(emulated(inner, refuse)) as broker:
        broker.publish("q", [Outgoing(b"x", not_before=time.time() + 60)])
        assert inner.size("q").delayed == 1
        with pytest.raises(Unsupported, match="cannot delay messages"):
            broker.publish("q", [Outgoing(b"x", not_before=time.time() + 3600)])
        assert broker.size("q").delayed == 1
        assert broker.purge("q") == 1


def test_what_is_fetched_is_never_refused_for_the_lack_of_a_store(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A retry that should wait comes back too early, rather than not at all."""
    inner = poorer(delay_publish=0, delay_release=0, rewrite=False)

    def refuse(what: str) -> Store:
        raise Unsupported(f"This cannot {what}.")

    with closing(emulated(inner, refuse)) as broker, closing(opened(broker)) as inbox:
        broker.publish("q", [Outgoing(b"x")])
        for _ in range(2):
            found = inbox.fetch(1, 1)
            assert not inbox.settle([Settlement(found[0], Action.RELEASE, 30, b"x")])
        assert ready(inner, "q") == [b"x"]
    assert caplog.text.count("This cannot delay messages.") == 1


# what is published anew


def test_what_was_settled_above_is_settled_once(wrap: Wrap) -> None:
    """However often the batch is given again: the broker had confirmed, and nobody learnt of it."""
    inner = poorer(rewrite=False)
    broker = wrap(inner)
    broker.publish("q", [Outgoing(b"%d" % i) for i in range(3)])
    with closing(opened(broker)) as inbox:
        found = inbox.fetch(3, 1)
        batch = [
            Settlement(found[0], Action.BURY, body=b"dead"),
            Settlement(found[1], Action.RELEASE, body=b"again"),
            Settlement(found[2]),
        ]
        for _ in range(3):
            assert not inbox.settle(batch)
        assert inner.size("q").in_flight == 0
    assert ready(inner, "q.dead") == [b"dead"]
    assert ready(inner, "q") == [b"again"]


class Half(MemoryBroker):
    """Publishes so many messages more, then cannot be reached; and cannot settle when `mute`."""

    left = math.inf
    mute = False

    def publish(self, queue: str, messages: Sequence[Outgoing]) -> None:
        room = int(min(self.left, len(messages)))
        self.left -= room
        super().publish(queue, messages[:room])
        if room < len(messages):
            raise PartlyPublished("away", list(range(room)))

    def open(self, queue: str, *, consumer_id: str, prefetch: int, lease: float) -> Inbox:
        inbox = super().open(queue, consumer_id=consumer_id, prefetch=prefetch, lease=lease)
        settle = inbox.settle

        def mute(settlements: Sequence[Settlement], also: object = None) -> Sequence[Settlement]:
            if self.mute:
                raise Unavailable("away")
            return settle(settlements, also)

        inbox.settle = mute  # type: ignore[method-assign]
        return inbox


@pytest.fixture
def half() -> Half:
    broker = Half("memory://")
    broker.capabilities = replace(broker.capabilities, rewrite=False, delay_publish=0)
    return broker


def test_half_of_a_burial(wrap: Wrap, half: Half) -> None:
    """Given again, only the other half is published."""
    broker = wrap(half)
    broker.publish("q", [Outgoing(b"%d" % i) for i in range(4)])
    with closing(opened(broker)) as inbox:
        batch = [Settlement(each, Action.BURY) for each in inbox.fetch(4, 1)]
        half.left = 2
        with pytest.raises(Unavailable):
            inbox.settle(batch)
        half.left, half.mute = math.inf, True
        with pytest.raises(Unavailable):
            inbox.settle(batch)
        half.mute = False
        assert not inbox.settle(batch)
        assert half.size("q").in_flight == 0
    assert ready(half, "q.dead") == [b"0", b"1", b"2", b"3"]


def test_half_of_a_batch_says_which_half(wrap: Wrap, half: Half) -> None:
    broker = wrap(half)
    half.left = 1
    with pytest.raises(PartlyPublished) as caught:
        broker.publish(
            "q",
            [Outgoing(b"0"), Outgoing(b"1", not_before=LATER), Outgoing(b"2"), Outgoing(b"3")],
        )
    assert list(caught.value.accepted) == [0, 1]


def test_what_is_lost_is_not_published_anew(wrap: Wrap) -> None:
    inner = poorer(rewrite=False)
    broker = wrap(inner)
    broker.publish("q", [Outgoing(b"x")])
    dead = broker.open("q", consumer_id="dead", prefetch=1, lease=0.05)
    found: list[Delivery] = []
    wait_until(lambda: bool(found) or bool(found.extend(dead.fetch(1, 0.1))), "it")  # type: ignore[func-returns-value]
    with closing(opened(broker)) as heir:
        wait_until(lambda: heir.keep_alive() == 1, "the lease to end")
        late = [Settlement(each, Action.BURY) for each in found]
        assert list(dead.settle(late)) == late
    assert ready(inner, "q.dead") == []


def test_the_priority_key_and_headers_of_a_message_go_with_it(wrap: Wrap) -> None:
    broker = wrap(poorer(rewrite=False, release="none"))
    broker.publish("q", [Outgoing(b"x", 7, key="k", headers={"h": "1"})])
    with closing(opened(broker)) as inbox:
        (found,) = inbox.fetch(1, 1)
        assert not inbox.settle([Settlement(found, Action.RELEASE, body=b"y")])
        (found,) = inbox.fetch(1, 1)
        assert (found.body, found.priority, found.key, found.headers) == (
            b"y",
            7,
            "k",
            {"h": "1"},
        )


# how large, how long


def test_a_message_that_leaves_no_room_for_its_dead_letter_is_refused(wrap: Wrap) -> None:
    broker = wrap(poorer(max_bytes=100_000))
    most = 100_000 - ROOM_FOR_DEATH
    broker.publish("q", [Outgoing(b"x" * most)])
    with pytest.raises(BadMessage, match=r"34,465 bytes; memory:// takes 34,464"):
        broker.publish("q", [Outgoing(b"x"), Outgoing(b"x" * (most + 1))])
    assert broker.size("q").ready == 1, "nothing of the batch"
    broker.publish("q.dead", [Outgoing(b"x" * 100_000)])
    with closing(opened(broker)) as inbox:
        (found,) = inbox.fetch(1, 1)
        assert not inbox.settle([Settlement(found, Action.BURY, body=b"y" * 99_000)])


def test_a_timeout_that_the_server_does_not_wait_for() -> None:
    assert cautions(MemoryBroker("memory://"), 1e9) == []
    broker = poorer(max_hold=900.0)
    assert cautions(broker, None) == cautions(broker, 900) == []
    (sentence,) = cautions(broker, 901)
    assert sentence.startswith("memory:// takes a message back after 15 min")


# the mover


def test_movers_publish_what_is_due_and_only_that(redis_url: str) -> None:
    with (
        closing(open_broker(redis_url.replace("redis://", "redis+list://"))) as inner,
        closing(open_store(redis_url)) as store,
    ):
        store.park(
            [Parked(f"p{i}", "q", "redis+list", 1.0 + i, b'{"x": %d}' % i) for i in range(1200)]
        )
        store.park(
            [Parked("late", "q", "redis+list", LATER, b"{}"), Parked("o", "q", "redis", 1.0, b"{}")]
        )
        brokers = [emulated(inner, lambda what: store) for _ in range(2)]
        inboxes = [opened(broker) for broker in brokers for _ in range(2)]
        wait_until(lambda: store.parked_count("q", "redis+list") == 1, "all that is due to move")
        for inbox in inboxes:
            inbox.close()
        assert inner.size("q").ready == 1200
        assert store.parked_count("q", "redis") == 1, "what is another broker's stays"


def test_one_thread_moves_for_all_queues_as_long_as_one_is_consumed(
    wrap: Wrap, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def movers() -> int:
        return sum(thread.name == "fb-mover" for thread in threading.enumerate())

    before = movers()
    broker = wrap(MinimalBroker("minimal://mover"))
    inboxes = [opened(broker, f"q{i}") for i in range(3)]
    assert movers() == before + 1
    store.park([Parked(f"p{i}", f"q{i}", "minimal", 1.0, b"x") for i in range(4)])
    for inbox in inboxes:
        assert [each.body for each in inbox.fetch(1, 10)] == [b"x"]
        inbox.close()
        inbox.close()
    wait_until(lambda: movers() == before, "it to end")
    assert store.parked_count("q3", "minimal") == 1, "nobody consumes that"


def test_the_mover_outlives_a_store_that_is_away(
    wrap: Wrap, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broker = wrap(MinimalBroker("minimal://away"))
    refused: list[None] = []
    hand_out = store.due

    def due(*args: Any) -> Any:
        if len(refused) < 3:
            refused.append(None)
            raise Unavailable("the store is away.")
        return hand_out(*args)

    monkeypatch.setattr(store, "due", due)
    broker.publish("q", [Outgoing(b"x", not_before=time.time() + 0.1)])
    with closing(opened(broker)) as inbox:
        assert [each.body for each in inbox.fetch(1, 30)] == [b"x"]
    assert len(refused) == 3
    assert caplog.text.count("the store is away.") == 1, "told once"
