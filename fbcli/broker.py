"""The contract of brokers.

A broker moves bytes between publishers and consumers. It knows nothing of functions, options,
results or the store. `docs/architecture.md` walks this contract through pull servers, push servers,
logs, visibility timeouts and tables.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import msgspec


class Outgoing(msgspec.Struct, gc=False):
    """A message on its way to a broker."""

    body: bytes
    priority: int = 0
    """0 (ordinary) to 9 (first)."""
    not_before: float | None = None
    """Unix time before which it must not be delivered. Only where `Capabilities.delay`."""


class Delivery(msgspec.Struct, gc=False):
    """A message as handed over by a broker."""

    body: bytes
    handle: Any
    """What the inbox needs to settle it. Opaque to everyone else."""
    deliveries: int = 1
    """1 + how often it was handed over before and lost with its consumer. A release does not count.
    """
    priority: int = 0


class Action(enum.IntEnum):
    """What became of a delivery."""

    ACK = 0
    """Done with: remove it."""
    RELEASE = 1
    """Back to the front of its queue, `delay` seconds from now."""
    BURY = 2
    """To the dead letters: queue `dead_queue(name)` of the same broker."""


class Settlement(msgspec.Struct, gc=False):
    """Tells the broker what became of one delivery."""

    delivery: Delivery
    action: Action = Action.ACK
    delay: float = 0.0
    """Seconds; with RELEASE only, and only where `Capabilities.delay`."""
    body: bytes | None = None
    """Replaces the message's body; with RELEASE and BURY only, and only where
    `Capabilities.rewrite`."""


class Delayed(msgspec.Struct):
    """A message that waits for its time inside the broker."""

    due: float
    """Unix time."""
    body: bytes
    handle: Any


class Size(msgspec.Struct):
    """How much a queue holds. None: this broker cannot tell."""

    ready: int
    in_flight: int | None = None
    delayed: int | None = None


class Capabilities(msgspec.Struct, frozen=True):
    """What a broker can do by itself. What it cannot is emulated above it, once, with the store, or
    refused (exit 5)."""

    confirm: bool = True
    """`publish` returns once the broker has the message."""
    ack: bool = True
    """A fetched message stays with the broker until it is settled; a dead consumer's come back."""
    durable: bool = True
    """Messages survive a restart of the broker (as the server is configured)."""
    reach: str = "network"
    """Who can share a queue: `process`, `host` or `network`."""
    delay: bool = False
    """`Outgoing.not_before` and `Settlement.delay` are honoured, and `delayed`/`undelay` work."""
    priority: bool = False
    """Strict order of `Outgoing.priority`."""
    rewrite: bool = False
    """`Settlement.body` is honoured, and BURY is one step with it."""
    delivery_count: bool = False
    peek: bool = False
    purge: bool = False
    size: bool = False
    queues: bool = False
    ordered: bool = True
    """First in, first out within a priority while nothing is released or lost."""
    broadcast: bool = False


DEAD_SUFFIX = ".dead"


def dead_queue(queue: str) -> str:
    """Return the name of the queue that holds the dead letters of `queue`."""
    return queue + DEAD_SUFFIX


class Inbox(ABC):
    """One consumer's open mouth on one queue. Used by one thread, `wake` and `keep_alive` apart.

    Every method raises `Unavailable` when the broker cannot be reached; the next call tries again
    by itself, and what was fetched stays owned as long as the lease holds.
    """

    @abstractmethod
    def fetch(self, limit: int, wait: float) -> list[Delivery]:
        """Hand over up to `limit` messages: at once when there are any, else as soon as one comes.

        Returns an empty list after `wait` seconds, or at once when woken. With `limit` 0 it only
        waits (and does what the broker needs done meanwhile, such as making due messages ready).
        `wait` 0 never blocks.
        """

    @abstractmethod
    def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settlement]:
        """Settle a batch, confirmed by the broker. Return those that came too late: the lease was
        lost, and the messages belong to somebody else now."""

    @abstractmethod
    def wake(self) -> None:
        """Make a waiting `fetch`, or else the next one, return at once. From any thread; cheap when
        repeated."""

    @abstractmethod
    def keep_alive(self) -> int:
        """Extend the lease, and give back to the queue what consumers left whose lease has run out.

        Called from the heartbeat's thread several times within a lease; uses a connection of its
        own. Returns how many messages of dead consumers it gave back.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back all that is unsettled, and end the lease. Idempotent."""


class Broker(ABC):
    """A messaging system reached by URL. Thread-safe. Constructing one does not connect."""

    capabilities: Capabilities
    summary: str
    """One line for `fb brokers`: what it is, and what it does not promise."""
    library: tuple[str, str] | None = None
    """Module of the client library that it imports when its URL is used, and the extra of fbcli
    that installs it."""

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    def publish(self, queue: str, messages: Sequence[Outgoing]) -> None:
        """Publish a batch, in order. Returns once the broker has confirmed all; raises
        `Unavailable` else."""

    @abstractmethod
    def open(self, queue: str, *, consumer_id: str, prefetch: int, lease: float) -> Inbox:
        """Begin consuming. `lease` is how many seconds after its last `keep_alive` a consumer
        counts as dead."""

    @abstractmethod
    def size(self, queue: str) -> Size | None:
        """Count what `queue` holds (an unknown queue holds nothing); None: cannot tell."""

    @abstractmethod
    def purge(self, queue: str) -> int:
        """Remove all that is ready or delayed; return how many. What consumers hold stays
        theirs."""

    @abstractmethod
    def peek(self, queue: str, n: int) -> list[bytes]:
        """Return up to `n` ready bodies in the order of delivery, taking none."""

    @abstractmethod
    def queues(self) -> list[str]:
        """Return the names of the queues known to the broker, sorted; dead-letter queues among
        them."""

    def delayed(self, queue: str, n: int) -> list[Delayed]:
        """Return up to `n` messages that wait for their time, soonest first. Only where
        `Capabilities.delay`."""
        raise NotImplementedError

    def undelay(self, queue: str, handles: Sequence[Any]) -> int:
        """Remove waiting messages by the handles of `delayed`; return how many were still there."""
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None:
        """Close all connections. Idempotent. Inboxes are closed by whoever opened them."""
