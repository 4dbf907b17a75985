"""What the tests of the broker contract are made of: queues and consumers of their own, and checks
that capabilities excuse."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from fbcli.broker import Broker, Delivery, Inbox, Outgoing, Settlement, dead_queue
from fbcli.broker_registry import open_broker
from fbcli.emulation import emulated
from fbcli.stores import open_store
from fbcli.testing.waiting import wait_until

LONG = 3600.0
PROMPT = 8.0
"""Seconds within which something happens "at once", on a machine that has other things to do as
well."""


class OpenInbox(Protocol):
    """Opens one more consumer; closed when the test ends."""

    def __call__(self, queue: str | None = None, *, lease: float = 60.0) -> Inbox: ...


def bodies(deliveries: Sequence[Delivery]) -> list[bytes]:
    return [delivery.body for delivery in deliveries]


def numbered(count: int, **fields: Any) -> list[Outgoing]:
    return [Outgoing(b"%d" % i, **fields) for i in range(count)]


def ack(inbox: Inbox, deliveries: Sequence[Delivery]) -> None:
    assert not inbox.settle([Settlement(delivery) for delivery in deliveries])


@contextmanager
def meanwhile(do: Callable[[], object], after: float = 0.05) -> Iterator[None]:
    """Run `do` in another thread, when the block has had time to begin waiting."""
    timer = threading.Timer(after, do)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@contextmanager
def prompt(least: float = 0.0) -> Iterator[None]:
    """Check that the block takes at least so long, and ends promptly then."""
    started = time.monotonic()
    yield
    took = time.monotonic() - started
    assert least * 0.98 <= took < least + PROMPT


class BrokerGround:
    """Where the tests stand. Each uses queues of its own, so the server may be shared, and need not
    be empty."""

    url: Any
    emulated = False
    """Whether to test what users get: the broker together with what `fbcli.emulation` makes up for.
    """
    spares_held = False
    """Whether `purge` leaves alone what consumers hold."""
    lease = 0.6
    """The shortest lease, in seconds, that this broker keeps to."""
    patience = 15.0
    """How long, in seconds, anything may take at most."""

    @pytest.fixture
    def broker_url(self, request: pytest.FixtureRequest) -> str:
        url = self.url if isinstance(self.url, str) else request.getfixturevalue("url")
        assert isinstance(url, str)
        return url

    def sever(self, inbox: Inbox) -> None:
        """Break the connections of an inbox as the death of its process would. To be written where
        the lease is a connection."""
        raise NotImplementedError("the lease is a connection: say how to break it")

    @pytest.fixture
    def open_url(self, tmp_path: Path) -> Iterator[Callable[[str], Broker]]:
        """Opens a broker by its URL; closed when the test ends."""
        with ExitStack() as opened:

            def open_url(url: str) -> Broker:
                broker = opened.enter_context(closing(open_broker(url)))
                if not self.emulated:
                    return broker
                store = opened.enter_context(closing(open_store(f"sqlite:///{tmp_path}/store.db")))
                return opened.enter_context(closing(emulated(broker, lambda what: store)))

            yield open_url

    @pytest.fixture
    def open_one(self, broker_url: str, open_url: Callable[[str], Broker]) -> Callable[[], Broker]:
        """Opens the broker once more, as another process does."""
        return lambda: open_url(broker_url)

    @pytest.fixture
    def broker(self, open_one: Callable[[], Broker]) -> Broker:
        return open_one()

    @pytest.fixture
    def queue(self, broker: Broker) -> Iterator[str]:
        name = f"contract.{uuid.uuid4().hex}"
        yield name
        if broker.capabilities.purge:
            broker.purge(name)
            broker.purge(dead_queue(name))

    @pytest.fixture
    def open_inbox(self, broker: Broker, queue: str) -> Iterator[OpenInbox]:
        with ExitStack() as inboxes:
            home = queue

            def open_one(queue: str | None = None, *, lease: float = 60.0) -> Inbox:
                inbox = broker.open(
                    queue or home, consumer_id=f"c-{uuid.uuid4().hex}", prefetch=100, lease=lease
                )
                return inboxes.enter_context(closing(inbox))

            yield open_one

    @pytest.fixture
    def inbox(self, open_inbox: OpenInbox) -> Inbox:
        return open_inbox()

    @pytest.fixture
    def elsewhere(self, broker: Broker, open_one: Callable[[], Broker]) -> Broker:
        """The same queues, as another process sees them."""
        if broker.capabilities.reach == "process":
            pytest.skip("its queues belong to one Broker object")
        return open_one()

    def need(self, broker: Broker, *capabilities: str) -> None:
        for name in capabilities:
            if not self.has(broker, name):
                pytest.skip(f"its capabilities say: no {name}")

    @staticmethod
    def has(broker: Broker, capability: str) -> bool:
        """Whether the broker has a capability, to whatever extent."""
        return getattr(broker.capabilities, capability) not in (False, 0, "none")

    @staticmethod
    def long(broker: Broker) -> float:
        """A delay in seconds that no test waits for."""
        return min(LONG, broker.capabilities.delay_publish)

    def die(self, broker: Broker, inbox: Inbox) -> None:
        """Have the consumer of an inbox die; one whose lease is beats was opened with
        `self.lease`."""
        if broker.capabilities.lease == "connection":
            self.sever(inbox)

    def receive(self, inbox: Inbox, count: int, limit: int = 100) -> list[Delivery]:
        """Fetch exactly `count` messages, however many batches that takes."""
        found: list[Delivery] = []
        deadline = time.monotonic() + self.patience
        while len(found) < count:
            batch = inbox.fetch(min(limit, count - len(found)), 1.0)
            assert len(batch) <= min(limit, count - len(found))
            found += batch
            assert time.monotonic() < deadline, (
                f"{len(found)} of {count} messages in {self.patience} seconds"
            )
        return found

    def check_order(self, broker: Broker, found: list[bytes], published: list[bytes]) -> None:
        if broker.capabilities.ordered:
            assert found == published
        else:
            assert sorted(found) == sorted(published)

    def check_empty(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        assert inbox.fetch(100, 0.05) == []
        if broker.capabilities.size:
            size = broker.size(queue)
            assert (size.ready, size.in_flight or 0, size.delayed or 0) == (0, 0, 0)

    def lose_lease(
        self, broker: Broker, queue: str, open_inbox: OpenInbox, count: int
    ) -> tuple[Inbox, list[Delivery], Inbox]:
        """Have a consumer fetch `count` messages and lose them. Return it, what it fetched, and who
        has reclaimed them."""
        self.need(broker, "ack")
        loser = open_inbox(lease=self.lease)
        broker.publish(queue, numbered(count))
        lost = self.receive(loser, count)
        heir = open_inbox(lease=60.0)
        if broker.capabilities.lease == "connection":
            self.sever(loser)
            return loser, lost, heir
        given_back = 0

        def reclaimed() -> bool:
            nonlocal given_back
            given_back += heir.keep_alive()
            return given_back >= count

        wait_until(reclaimed, "the lease to end", self.patience)
        assert given_back == count
        return loser, lost, heir

    def check_held(self, broker: Broker, queue: str, count: int) -> None:
        if broker.capabilities.size:
            size = broker.size(queue)
            assert size.in_flight in (count, None)
