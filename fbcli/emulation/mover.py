"""Moves messages that waited in the store into their queues when they are due."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence

from fbcli.broker import Broker, Outgoing
from fbcli.clock import Backoff
from fbcli.errors import FbError, PartlyPublished, Unsupported
from fbcli.stores.base import Parked, Store

log = logging.getLogger("fbcli.consumer")

PERIOD = 0.1
"""Seconds between two looks."""

AT_ONCE = 500

LEASE = 10.0
"""Seconds after which another process moves what one did not finish."""


class Mover:
    """One thread for all queues of a broker that are consumed in this process. Any process that
    consumes a queue moves for all."""

    def __init__(self, broker: Broker, open_store: Callable[[], Store]) -> None:
        self._broker = broker
        self._open_store = open_store
        self._queues: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, queue: str) -> None:
        """Move for one more consumer of `queue`."""
        with self._lock:
            self._queues[queue] += 1
            if self._thread is None:
                self._ended = threading.Event()
                self._thread = threading.Thread(
                    target=self._serve, args=(self._ended,), name="fb-mover", daemon=True
                )
                self._thread.start()

    def end(self, queue: str) -> None:
        """Move for one consumer of `queue` less."""
        with self._lock:
            self._queues[queue] -= 1
            self._queues += Counter()  # without those that are at 0
            if self._queues:
                return
        self.close()

    def close(self) -> None:
        """Move nothing more, and wait for what is being moved. Idempotent."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._ended.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _serve(self, ended: threading.Event) -> None:
        wait, backoff = PERIOD, Backoff(2 * PERIOD)
        while not ended.wait(wait):
            try:
                wait = 0.0 if self._move() else PERIOD
                backoff.succeeded()
            except Unsupported:
                return  # the store reaches less far than the broker: nothing waits there
            except Exception as error:  # a mover that ended would leave messages waiting for ever
                if not backoff.failures:
                    foreseen = isinstance(error, FbError)
                    log.warning("delayed messages: %s", error, exc_info=not foreseen)
                wait = backoff.failed()

    def _move(self) -> bool:
        """Move what is due; return whether there may be more."""
        store, scheme = self._open_store(), self._broker.scheme
        with self._lock:
            queues = set(self._queues)
        if len(queues) > 1:
            queues &= set(store.parked_queues(scheme))
        more = False
        for queue in queues:
            due = store.due(queue, scheme, AT_ONCE, LEASE)
            if due:
                self._publish(store, queue, due)
            more |= len(due) == AT_ONCE
        return more

    def _publish(self, store: Store, queue: str, due: Sequence[Parked]) -> None:
        """Note: published first and removed then. Where that is not done any more, another process
        publishes again; a broker that remembers ids adds it once."""
        named = self._broker.capabilities.idempotent
        messages = [
            Outgoing(each.body, each.priority, id=each.parked_id if named else None) for each in due
        ]
        try:
            self._broker.publish(queue, messages)
        except PartlyPublished as error:
            in_queue = [due[place].parked_id for place in error.accepted]
            store.unpark(queue, self._broker.scheme, in_queue)
            raise
        store.unpark(queue, self._broker.scheme, [each.parked_id for each in due])
