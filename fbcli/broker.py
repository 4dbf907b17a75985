"""The contract of brokers.

A broker moves bytes between publishers and consumers. It knows nothing of functions, options,
results or the store. `docs/architecture.md` walks this contract through the systems it is made for.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from fbcli.errors import Unsupported
from fbcli.lease import Beat


class Outgoing(msgspec.Struct, gc=False):
    """A message on its way to a broker."""

    body: bytes
    priority: int = 0
    """0 (ordinary) to 9 (first). Only where `Capabilities.priority`."""
    not_before: float | None = None
    """Unix time before which it must not be delivered; at most `Capabilities.delay_publish` seconds
    from now."""
    id: str | None = None
    """Only where `Capabilities.idempotent`: a queue takes a message with this id, and leaves out
    those that anybody publishes with it in the `ID_SECONDS` that follow. For what may be published
    again because nobody knows whether it got in. None, the rule: an id has to be remembered, which
    costs the server about as much as the message."""
    key: str | None = None
    """Messages with one key keep their order, or share a partition. Only where `Capabilities.key`.
    """
    headers: Mapping[str, str] | None = None
    """What travels beside the body, for others who read the queue. Only where
    `Capabilities.headers`."""


class Delivery(msgspec.Struct, gc=False):
    """A message as handed over by a broker."""

    body: bytes
    handle: Any
    """What the inbox needs to settle it. Opaque to everyone else."""
    deliveries: int = 1
    """Which delivery this is, as `Capabilities.delivery_count` counts: 1 is the first. Where it
    does not count, 2 is one of which it knows only that it is not the first."""
    priority: int = 0
    identity: str | None = None
    """Tells the message from every other of its queue, however often it is delivered (a message
    id; topic, partition and offset). None: it has no name, or needs none, since the broker counts.
    """
    key: str | None = None
    headers: Mapping[str, str] | None = None


class Action(enum.IntEnum):
    """What became of a delivery."""

    ACK = 0
    """Done with: remove it."""
    RELEASE = 1
    """Back to its queue, `delay` seconds from now; `Capabilities.release` says where to."""
    BURY = 2
    """To the dead letters: queue `dead_queue(name)` of the same broker. Only where
    `Capabilities.rewrite`."""


class Settlement(msgspec.Struct, gc=False):
    """Tells the broker what became of one delivery."""

    delivery: Delivery
    action: Action = Action.ACK
    delay: float = 0.0
    """Seconds, at most `Capabilities.delay_release`; with RELEASE only."""
    body: bytes | None = None
    """Replaces the message's body; with RELEASE and BURY only, and only where
    `Capabilities.rewrite`."""
    back: bool = False
    """With RELEASE: behind all that is ready, rather than ahead of it."""


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


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker can do by itself: each broker says each. What it cannot is emulated above it,
    once (`fbcli.emulation`), or refused (exit 5)."""

    confirm: bool
    """`publish` returns once the broker has the messages."""
    ack: bool
    """A fetched message stays with the broker until it is settled; a dead consumer's come back."""
    durable: bool
    """Messages survive a restart of the broker (as the server is configured)."""
    fencing: bool
    """A settlement that comes too late, when the lease was lost, settles nothing, and is told.
    Where not, it may settle the message in somebody else's hands."""
    lease: Literal["beat", "connection", "none"]
    """What shows that a consumer lives: beats, which another process may send (`Inbox.beat`); its
    connection, which nobody else can hold; or nothing (without `ack`)."""
    reach: Literal["process", "host", "network"]
    """Who can share a queue."""
    delay_publish: float
    """Longest delay of `Outgoing.not_before` in seconds; 0: none, inf: any."""
    delay_release: float
    """Longest `Settlement.delay` in seconds; 0: none, inf: any."""
    delay_view: bool
    """What waits for its time can be listed and cancelled: `delayed`, `undelay`."""
    release: Literal["none", "front", "back", "both"]
    """Where RELEASE can put a message: ahead of what came later, anywhere behind, or either, as
    `Settlement.back` asks."""
    priority: bool
    """Strict order of `Outgoing.priority`."""
    rewrite: bool
    """`Settlement.body` is honoured, and so is BURY, in one step with it."""
    delivery_count: Literal["none", "lost", "all"]
    """What `Delivery.deliveries` counts: nothing; those lost with their consumer; or all, so that a
    release counts too."""
    idempotent: bool
    """`Outgoing.id` is honoured."""
    key: bool
    headers: bool
    max_bytes: int | None
    """Longest body that the server takes; None: any that fbcli does."""
    max_hold: float
    """Longest time in seconds for which a consumer can keep a delivery; inf: as long as it
    lives."""
    group: bool
    """`?group=` in the URL: each group gets every message (default: `DEFAULT_GROUP`)."""
    peek: bool
    purge: bool
    size: bool
    queues: bool
    ordered: bool
    """First in, first out within a priority while nothing is released or lost."""
    broadcast: bool
    """Each consumer that is there gets every message, rather than one of them."""


ID_SECONDS = 86400.0
"""How long a queue remembers an `Outgoing.id`."""

DEFAULT_GROUP = "fbcli"

EVERYTHING = 1_000_000_000
"""A number of messages that no queue holds."""

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
    def settle(
        self, settlements: Sequence[Settlement], also: object = None
    ) -> Sequence[Settlement]:
        """Settle a batch, confirmed by the broker. Return those that came too late: the lease was
        lost, and the messages belong to somebody else now.

        `also`: writes of a store that lives in the same server (`Store.shares`), as that store has
        made them. They are done before any settlement, or in one step with them; when they fail,
        nothing is settled.
        """

    def late(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Return those of `deliveries` that are known to belong to somebody else by now. What it
        does not return may be lost a moment later. Without `Capabilities.fencing`: none."""
        return ()

    @abstractmethod
    def wake(self) -> None:
        """Make a waiting `fetch`, or else the next one, return at once. From any thread; cheap when
        repeated."""

    @abstractmethod
    def keep_alive(self) -> int:
        """Extend the lease, and give back to the queue what consumers left whose lease has run out.

        Called from the heartbeat's thread several times within a lease; uses a connection of its
        own, or, where the lease belongs to the one that fetched, that one under a lock. Returns how
        many messages of dead consumers it gave back, as far as the broker tells.
        """

    def beat(self) -> Beat | None:
        """Return what another process needs to extend the lease in the place of this one; None
        where none can: the lease is a connection, or the broker lives in this process. Where a
        server keeps a lease for each message, it holds for what is in hand at this moment."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Give back all that is unsettled, and end the lease. Idempotent."""


class Broker(ABC):
    """A messaging system reached by URL. Thread-safe. Constructing one does not connect.

    The verbs that are not abstract are behind a capability, and raise `Unsupported` where it is
    absent.
    """

    capabilities: Capabilities
    summary: str
    """One line for `fb brokers`: what it is, and what it does not promise."""
    library: tuple[str, str] | None = None
    """Module of the client library that it imports when its URL is used, and the extra of fbcli
    that installs it."""
    also: str = ""
    """The kind of a store's writes that its inboxes take along (`Inbox.settle`): none."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def scheme(self) -> str:
        """The scheme of its URL."""
        return self.url.partition("://")[0]

    @abstractmethod
    def publish(self, queue: str, messages: Sequence[Outgoing]) -> None:
        """Publish a batch, in order. Returns once the broker has confirmed all; raises
        `Unavailable` else, as `PartlyPublished` where it is known that some got in."""

    @abstractmethod
    def open(self, queue: str, *, consumer_id: str, prefetch: int, lease: float) -> Inbox:
        """Begin consuming. `lease` is how many seconds after its last `keep_alive` a consumer
        counts as dead, or longer: where the lease is the server's, or shared, that one holds."""

    def keep_alive(self, inboxes: Sequence[Inbox]) -> Sequence[int]:
        """Do for inboxes of this broker that one server has (`lease_group`) what
        `Inbox.keep_alive` does for one, in as few round trips as the server allows.

        A process may have a hundred, so a broker that can do better than one after the other
        should. Returns the same, for each. Raises `Unavailable` when it did not work for all.
        """
        given_back, failed = [], None
        for inbox in inboxes:
            try:
                given_back.append(inbox.keep_alive())
            except Exception as error:  # noqa: BLE001  raised below: the others must not lose their leases for it
                given_back.append(0)
                failed = error
        if failed is not None:
            raise failed
        return given_back

    def lease_group(self, queue: str) -> str:
        """Return the name of the server that keeps the leases of this queue's consumers. Leases are
        kept by one thread for each: one that is slow must not hold up another."""
        return ""

    @abstractmethod
    def close(self) -> None:
        """Close all connections. Idempotent. Inboxes are closed by whoever opened them."""

    def size(self, queue: str) -> Size:
        """Count what `queue` holds; an unknown queue holds nothing."""
        raise self.cannot("count messages")

    def purge(self, queue: str) -> int:
        """Remove all that is ready or delayed; return how many, as well as the server tells. What
        consumers hold may go too: whoever settles it then must not be hurt by that."""
        raise self.cannot("clear a queue")

    def peek(self, queue: str, n: int) -> list[bytes]:
        """Return up to `n` ready bodies in the order of delivery, taking none."""
        raise self.cannot("show messages without taking them")

    def browse(self, queue: str) -> Iterator[Sequence[bytes]]:
        """Yield all ready bodies in the order of delivery, some at a time, taking none. Of messages
        that come and go meanwhile, one may be missed, or come twice. Where `peek` is all there is,
        they come at once."""
        yield self.peek(queue, EVERYTHING)

    def queues(self) -> list[str]:
        """Return the names of the queues known to the broker, sorted; dead-letter queues among
        them."""
        raise self.cannot("list its queues")

    def delayed(self, queue: str, n: int) -> list[Delayed]:
        """Return up to `n` messages that wait for their time, soonest first."""
        raise self.cannot("list delayed messages")

    def undelay(self, queue: str, handles: Sequence[Any]) -> int:
        """Remove waiting messages by the handles of `delayed`; return how many were still there."""
        raise self.cannot("cancel delayed messages")

    def wire_name(self, queue: str) -> str:
        """Return what a queue is called in the server, where not every name is allowed. Each name
        has one of its own, that of a dead-letter queue too."""
        return queue

    def queue_name(self, wire: str) -> str:
        """Return the queue that is called `wire` in the server: the reverse of `wire_name`."""
        return wire

    def cannot(self, what: str) -> Unsupported:
        """Return the error of a verb, or an option, that this broker lacks."""
        return Unsupported(
            f"{self.scheme}:// cannot {what}. `fb brokers` shows what each broker can."
        )
