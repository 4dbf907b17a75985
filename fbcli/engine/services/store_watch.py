"""Asks the store once a second what has changed, and tells it that the consumer lives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from fbcli.engine.services.service import Service
from fbcli.errors import Unavailable
from fbcli.stores.base import ConsumerRecord, News, Store

log = logging.getLogger("fbcli.consumer")

Listener = Callable[[News], None]


class StoreWatch(Service):
    """Tells the store that this consumer lives, and its listeners what the store says: pauses,
    limits, cancelled tasks."""

    name = "watch"
    TTL = 10.0
    """Seconds after which a consumer that does not report counts as gone."""

    def __init__(
        self,
        store: Store,
        report: Callable[[], ConsumerRecord],
        listeners: Sequence[Listener],
    ) -> None:
        super().__init__(1.0)
        self._store = store
        self._report = report
        self._listeners = tuple(listeners)

    def beat(self) -> None:
        news = self._store.news()
        for listener in self._listeners:
            listener(news)
        self._store.beat([self._report()], ttl=self.TTL)

    def first_look(self) -> None:
        """Learn of a pause before anything is fetched; without the store it is learned of as soon
        as it answers."""
        try:
            self.beat()
        except Unavailable as error:
            log.warning("%s: %s", self.name, error)

    def retire(self) -> None:
        """Tell the store that this consumer is gone."""
        try:
            self._store.retire([self._report().consumer_id])
        except Unavailable as error:
            log.warning("%s: %s", self.name, error)
