"""How often messages were lost, where the broker does not tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from fbcli.broker import Action, Broker, Delivery, Inbox, Outgoing, Settlement
from fbcli.brokers.memory import MemoryBroker
from fbcli.emulation import emulated
from fbcli.emulation.inbox import EmulatedInbox
from fbcli.errors import Unavailable
from fbcli.stores import open_store
from fbcli.stores.base import Store
from tests.contract.minimal import MinimalBroker, MinimalInbox


class CountingAll(MemoryBroker):
    """Counts every delivery, those after a release too."""

    capabilities = replace(MemoryBroker.capabilities, delivery_count="all")

    def __init__(self) -> None:
        super().__init__("memory://")
        self.delivered = Counter[bytes]()

    def open(self, queue: str, *, consumer_id: str, prefetch: int, lease: float) -> Inbox:
        inbox = super().open(queue, consumer_id=consumer_id, prefetch=prefetch, lease=lease)
        fetch = inbox.fetch

        def counting(limit: int, wait: float) -> list[Delivery]:
            found = fetch(limit, wait)
            self.delivered.update(each.body for each in found)
            for each in found:
                each.deliveries = self.delivered[each.body]
                each.identity = each.body.decode()
            return found

        inbox.fetch = counting  # type: ignore[method-assign]
        return inbox


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(f"sqlite:///{tmp_path}/store.db")) as store:
        yield store


@pytest.fixture
def wrap(store: Store) -> Iterator[Callable[[Broker], Broker]]:
    opened: list[Broker] = []

    def wrap(broker: Broker) -> Broker:
        opened.append(emulated(broker, lambda what: store))
        return opened[-1]

    yield wrap
    for broker in opened:
        broker.close()


def opened(broker: Broker) -> Inbox:
    return broker.open("q", consumer_id="c", prefetch=10, lease=60)


def sever(inbox: Inbox) -> None:
    cast(MinimalInbox, cast(EmulatedInbox, inbox).inner).sever()


def deliveries(inbox: Inbox, count: int = 1) -> list[int]:
    found: list[Delivery] = []
    while len(found) < count:
        found += inbox.fetch(count, 10)
    return [each.deliveries for each in found]


def counts(store: Store) -> dict[str, int]:
    (found,) = store.backend.notices.read(["counts"])
    return {name: int(notice.body) for name, notice in found.items()}


Wrap = Callable[[Broker], Broker]


def test_what_is_delivered_once_is_not_written_of(
    wrap: Wrap, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> Any:
        raise AssertionError("asked")

    monkeypatch.setattr(store, "count", refuse)
    monkeypatch.setattr(store, "forget_counts", refuse)
    broker = wrap(MinimalBroker("minimal://once"))
    broker.publish("q", [Outgoing(b"%d" % i) for i in range(5)])
    with closing(opened(broker)) as inbox:
        found = inbox.fetch(5, 1)
        assert not inbox.settle([Settlement(each) for each in found])


def test_losses_are_counted_by_what_a_message_is_called(wrap: Wrap, store: Store) -> None:
    """Two alike are told apart, and what is done with is forgotten."""
    broker = wrap(MinimalBroker("minimal://losses"))
    broker.publish("q", [Outgoing(b"same"), Outgoing(b"same")])
    with closing(opened(broker)) as inbox:
        first, second = inbox.fetch(2, 1)
        assert not inbox.settle([Settlement(second)])
        sever(inbox)
        assert deliveries(inbox) == [2]
        sever(inbox)
        (found,) = inbox.fetch(1, 1)
        assert found.deliveries == 3
        assert counts(store) == {f"minimal:q:{first.identity}": 2}
        assert not inbox.settle([Settlement(found)])
    assert counts(store) == {}


def test_what_has_no_name_is_counted_by_its_body(
    wrap: Wrap, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are alike count as one, so that a single loss of many is no more than one."""
    take = MinimalInbox._take

    def nameless(inbox: MinimalInbox) -> Delivery:
        delivery = take(inbox)
        delivery.identity = None
        return delivery

    monkeypatch.setattr(MinimalInbox, "_take", nameless)
    broker = wrap(MinimalBroker("minimal://nameless"))
    broker.publish("q", [Outgoing(b"same")] * 3 + [Outgoing(b"other")])
    with closing(opened(broker)) as inbox:
        assert deliveries(inbox, 4) == [1] * 4
        sever(inbox)
        assert deliveries(inbox, 4) == [2] * 4


def test_closing_is_no_loss(wrap: Wrap) -> None:
    broker = wrap(MinimalBroker("minimal://closing"))
    broker.publish("q", [Outgoing(b"x")])
    for _ in range(3):
        inbox = opened(broker)
        assert deliveries(inbox) == [1]
        inbox.close()
    inbox = opened(broker)
    assert deliveries(inbox) == [1]
    sever(inbox)
    assert deliveries(inbox) == [2]
    inbox.close()


def test_releases_are_taken_off_where_all_is_counted(wrap: Wrap, store: Store) -> None:
    inner = CountingAll()
    broker = wrap(inner)
    broker.publish("q", [Outgoing(b"x")])
    with closing(opened(broker)) as inbox:
        for _ in range(4):
            (found,) = inbox.fetch(1, 1)
            assert found.deliveries == 1
            assert not inbox.settle([Settlement(found, Action.RELEASE)])
        (found,) = inbox.fetch(1, 1)
        inner.delivered[b"x"] += 2  # as if it had been lost twice
        assert not inbox.settle([Settlement(found, Action.RELEASE)])
        (found,) = inbox.fetch(1, 1)
        assert (inner.delivered[b"x"], found.deliveries) == (8, 3)
        assert counts(store) == {"memory:q:x": 5}
        assert not inbox.settle([Settlement(found, Action.BURY)])
    assert counts(store) == {}


def test_a_store_that_is_away_keeps_no_message_back(
    wrap: Wrap, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then nobody knows more than that it was lost before."""

    def away(*args: Any) -> Any:
        raise Unavailable("the store is away")

    broker = wrap(MinimalBroker("minimal://counts-away"))
    broker.publish("q", [Outgoing(b"x")])
    with closing(opened(broker)) as inbox:
        assert deliveries(inbox) == [1]
        with monkeypatch.context() as patch:
            patch.setattr(store, "count", away)
            sever(inbox)
            (found,) = inbox.fetch(1, 1)
            assert found.deliveries == 2
        assert not inbox.settle([Settlement(found)])
