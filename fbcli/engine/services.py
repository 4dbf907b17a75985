"""The small services of a consuming process. Each has a thread of its own, so that none holds up another; start and stop are
idempotent, and a service that meets a dead broker or store says so once and goes on.

Shutdown order (`Consumer.serve`): the intake ends first (it settles and gives back), then the heartbeat (it kept the lease until then),
then the watch.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod

from fbcli.broker import Broker, Inbox, Outgoing
from fbcli.clock import Clock
from fbcli.controls.pause import Pause
from fbcli.engine.intake import Intake
from fbcli.engine.tally import Tally
from fbcli.errors import Unavailable
from fbcli.stores.base import Store, Worker

log = logging.getLogger("fbcli.consumer")


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
                self._thread = threading.Thread(target=self._serve, name=f"fb-{self.name}", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End, and wait for the duty that is being done."""
        with self._starting:
            self._ended.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

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
            except Unavailable as error:
                if not self._troubled:
                    log.warning("%s: %s", self.name, error)
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


class Watch(Service):
    """Tells the store that this consumer lives, and learns from it whether the queue is paused."""

    name = "watch"

    def __init__(
        self, store: Store, queue: str, pause: Pause, intake: Intake, worker: Worker, tally: Tally, clock: Clock
    ) -> None:
        super().__init__(1.0)
        self._store = store
        self._queue = queue
        self._pause = pause
        self._intake = intake
        self._worker = worker
        self._tally = tally
        self._clock = clock

    def beat(self) -> None:
        pauses = self._store.pauses()
        if self._queue in pauses:
            if self._pause.set(pauses[self._queue], self._clock.monotonic()):
                log.warning("%s is paused; `fb resume %s` ends that", self._queue, self._queue)
                self._intake.wake()
        elif self._pause.lift():
            log.warning("%s goes on", self._queue)
            self._intake.wake()
        report = self._tally.as_report()
        report["in_flight"] = self._intake.in_hand
        self._worker.queues = {self._queue: report}
        self._store.beat(self._worker, ttl=10.0)

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


class Mover(Service):
    """Publishes delayed messages when they are due, for a broker that cannot delay. Any live consumer of the queue does it; a message
    that its mover did not finish is handed to another one."""

    name = "mover"
    LEASE = 30.0
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
        self._broker.publish(self._queue, [Outgoing(message.body, message.priority) for message in due])
        self._store.unpark(self._queue, self._scheme, [message.parked_id for message in due])
        return 0.001 if len(due) == self.BATCH else None
