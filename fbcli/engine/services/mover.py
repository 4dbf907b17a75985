"""Moves delayed messages into their queue when they are due."""

from __future__ import annotations

from fbcli.broker import Broker, Outgoing
from fbcli.stores.base import Store


class Mover:
    """Publishes delayed messages when they are due, for a broker that cannot delay. Any live
    consumer of the queue does it; a message that its mover did not finish is handed to another one.
    """

    name = "mover"
    PERIOD = 0.1
    LEASE = 10.0
    BATCH = 500

    def __init__(self, store: Store, broker: Broker, queue: str) -> None:
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
