"""The small services of a consuming process. Each has a thread of its own, so that none holds up another; start and stop are
idempotent, and a service that meets a dead broker or store, or any other error, says so once and goes on.

Shutdown order (`Consumer.serve`): the intake ends first (it settles and gives back), then the heartbeat (it kept the lease until then),
then the watch.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fbcli.broker import Broker, Inbox, Outgoing
from fbcli.clock import Clock
from fbcli.engine.intake import MAX_WAIT, Intake
from fbcli.engine.tally import Tally
from fbcli.errors import FbError, Unavailable
from fbcli.stores.base import News, Store, Worker

log = logging.getLogger("fbcli.consumer")

Listener = Callable[[News], None]


class Service(ABC):
    """Calls `beat` every `period` seconds until stopped."""

    name = "service"

    def __init__(self, period: float) -> None:
        self.period = period
        self._ended = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._troubled = False

    def start(self) -> None:
        """Begin; once. What was stopped stays so."""
        with self._starting:
            if self._thread is None and not self._ended.is_set():
                self._thread = threading.Thread(
                    target=self._serve, name=f"fb-{self.name}", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """End, and wait for the duty that is being done."""
        with self._starting:
            self._ended.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def retire(self) -> None:  # noqa: B027  most leave nothing behind
        """The consumer has ended: take leave of broker and store."""

    @abstractmethod
    def beat(self) -> float | None:
        """Do the duty once. Returns seconds until the next time, where that is not `period`."""

    def _serve(self) -> None:
        wait = 0.0
        while not self._ended.wait(wait):
            wait = self.period
            try:
                wait = self.beat() or self.period
                self._troubled = False
            except Exception as error:  # a heartbeat that ended in silence would cost the lease
                if not self._troubled:
                    foreseen = isinstance(error, FbError)
                    log.warning(
                        "%s: %s",
                        self.name,
                        error if foreseen else repr(error),
                        exc_info=not foreseen,
                    )
                self._troubled = True


class Heartbeat(Service):
    """Keeps the lease of one inbox; and gives back to the queue what dead consumers held (the broker does that with it)."""

    name = "heartbeat"

    def __init__(self, inbox: Inbox, tally: Tally, period: float) -> None:
        super().__init__(period)
        self._inbox = inbox
        self._tally = tally

    def beat(self) -> None:
        reclaimed = self._inbox.keep_alive()
        if reclaimed:
            self._tally.counts.reclaimed += reclaimed
            log.warning("gave back %d messages of consumers that are gone", reclaimed)


class StoreWatch(Service):
    """Tells the store that this consumer lives, and its listeners what the store says: pauses, limits, cancelled tasks."""

    name = "watch"
    TTL = 10.0
    """Seconds after which a consumer that does not report counts as gone."""

    def __init__(
        self,
        store: Store,
        worker: Worker,
        report: Callable[[], Mapping[str, dict[str, Any]]],
        listeners: Sequence[Listener],
    ) -> None:
        super().__init__(1.0)
        self._store = store
        self._worker = worker
        self._report = report
        self._listeners = tuple(listeners)

    def beat(self) -> None:
        news = self._store.news()
        for listener in self._listeners:
            listener(news)
        self._worker.queues = dict(self._report())
        self._store.beat(self._worker, ttl=self.TTL)

    def first_look(self) -> None:
        """Learn of a pause before anything is fetched; without the store it is learned of as soon as it answers."""
        try:
            self.beat()
        except Unavailable as error:
            log.warning("%s: %s", self.name, error)

    def retire(self) -> None:
        """Tell the store that this consumer is gone."""
        try:
            self._store.retire(self._worker.worker_id)
        except Unavailable as error:
            log.warning("%s: %s", self.name, error)


class ClaimKeeper(Service):
    """Keeps what the controls of a consumer have claimed in the store while its tasks run."""

    name = "claims"

    def __init__(
        self, store: Store, spaces: Sequence[str], owner: str, lease: float, period: float
    ) -> None:
        super().__init__(period)
        self._store = store
        self._spaces = tuple(spaces)
        self._owner = owner
        self._lease = lease

    def beat(self) -> None:
        self._store.keep_claims(self._spaces, self._owner, self._lease)

    def retire(self) -> None:
        """Give back what is still claimed: the tasks have gone back to the queue."""
        try:
            self._store.drop_claims(self._spaces, self._owner)
        except Unavailable as error:
            log.warning("%s: %s", self.name, error)


class Watchdog(Service):
    """Notices a consumer that is deaf: it asks for messages and gets none for `limit` seconds, though the queue is not empty.

    It asks the broker over another connection. A broker that cannot be reached makes nobody deaf: that is waited out.
    """

    name = "watchdog"

    def __init__(
        self,
        intake: Intake,
        ready: Callable[[], int | None],
        bite: Callable[[str], None],
        limit: float,
        clock: Clock,
    ) -> None:
        super().__init__(max(0.1, limit / 4))
        self._intake = intake
        self._ready = ready
        self._bite = bite
        self._limit = limit
        self._clock = clock
        self._since: float | None = None
        """Since when it has got nothing, when that was last looked at (monotonic)."""
        self._seen = 0.0
        """When messages were first seen to be waiting meanwhile (monotonic)."""

    def beat(self) -> None:
        asked = self._clock.monotonic()
        since = self._deaf_since(asked)
        before, self._since = self._since, None
        if since is None or not (ready := self._ready()):
            return
        now = self._clock.monotonic()
        if now - asked > self.period or self._deaf_since(now) != since:
            return  # a broker so slow answers the consumer just as slowly; or it has got something meanwhile
        self._since = since
        if before != since:
            self._seen = now
        elif now - self._seen >= self._limit:
            waiting = "a message is" if ready == 1 else f"{ready:,} messages are"
            self._bite(f"got nothing for {now - since:.0f} s, though {waiting} waiting: it is deaf")

    def _deaf_since(self, now: float) -> float | None:
        """Return since when the consumer may have been deaf (monotonic seconds); None: it hears, or does not ask."""
        intake = self._intake
        if intake.stopping:
            return None
        if intake.hungry_since is not None:
            return intake.hungry_since
        since = intake.fetching_since
        return since if since is not None and now - since >= MAX_WAIT + self._limit else None


class Mover(Service):
    """Publishes delayed messages when they are due, for a broker that cannot delay. Any live consumer of the queue does it; a message
    that its mover did not finish is handed to another one."""

    name = "mover"
    LEASE = 10.0
    BATCH = 500

    def __init__(self, store: Store, broker: Broker, queue: str) -> None:
        super().__init__(0.1)
        self._store = store
        self._broker = broker
        self._queue = queue
        self._scheme = broker.url.partition("://")[0]

    def beat(self) -> float | None:
        due = self._store.due(self._queue, self._scheme, self.BATCH, self.LEASE)
        if not due:
            return None
        self._broker.publish(
            self._queue, [Outgoing(message.body, message.priority) for message in due]
        )
        self._store.unpark(self._queue, self._scheme, [message.parked_id for message in due])
        return 0.001 if len(due) == self.BATCH else None
