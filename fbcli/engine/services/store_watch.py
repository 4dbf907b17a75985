"""Asks the store once a second what has changed, and tells it that the consumers live."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from fbcli.clock import SYSTEM, Clock
from fbcli.engine.services.service import Trouble
from fbcli.engine.services.shared import SharedService
from fbcli.errors import Unavailable
from fbcli.stores.base import ConsumerRecord, News, Store

log = logging.getLogger("fbcli.consumer")

Heed = Callable[[News], None]


class Watcher:
    """A consumer that goes by what the store says. `record` returns what it says of itself; `heeds`
    are told all news."""

    def __init__(
        self,
        record: Callable[[], ConsumerRecord],
        heeds: Sequence[Heed],
        fading: Sequence[str] = (),
    ) -> None:
        """`fading`: spaces where it leaves marks that end by themselves."""
        self.record = record
        self.fading = fading
        self._heeds = [(heed, Trouble(StoreWatch.name)) for heed in heeds]

    def heed(self, news: News) -> None:
        """Go by these news. Never raises: a fault here must not keep the news from others."""
        for heed, trouble in self._heeds:
            trouble.attempt(partial(heed, news))


class StoreWatch(SharedService[Watcher]):
    """Tells the store that the consumers of this process live, and them what the store says:
    pauses, limits, cancelled tasks. And removes from the store what has ended."""

    name = "watch"
    PERIOD = 1.0
    TTL = 10.0
    """Seconds after which a consumer that does not report counts as gone."""
    FRESH = 0.2
    """Seconds for which news are good enough for a consumer that begins: many may do so at once."""
    SWEEPING, BETWEEN = 0.25, 0.1
    """Seconds for which what has ended is removed at a time, and until it goes on when there is
    more."""

    def __init__(self, store: Store, clock: Clock = SYSTEM) -> None:
        super().__init__(self.PERIOD)
        self._store = store
        self._clock = clock
        self._news: News | None = None
        """None: the store did not answer when it was asked last."""
        self._asked_at = float("-inf")

    def attend(self, members: Sequence[Watcher]) -> float | None:
        news = self._ask()
        for member in members:
            member.heed(news)
        self._store.beat([member.record() for member in members], ttl=self.TTL)
        return self.BETWEEN if self._sweep(members) else None

    def _sweep(self, members: Sequence[Watcher]) -> bool:
        """Remove what has ended, step by step, and between the steps leave the store as long to
        those who work. True: there is more."""
        spaces = list(dict.fromkeys(space for member in members for space in member.fading))
        begun = now = self._clock.monotonic()
        while now < begun + self.SWEEPING and members:
            if not self._store.sweep(spaces):
                return False
            took = self._clock.monotonic() - now
            if self._ended.wait(took):
                return False
            now = self._clock.monotonic()
        return bool(members)

    def first_look(self, member: Watcher) -> None:
        """Have a consumer learn of a pause before it fetches anything; without the store it learns
        of that as soon as the store answers."""
        with self._duty:
            try:
                fresh = self._clock.monotonic() < self._asked_at + self.FRESH
                news = self._news if fresh else self._ask()
                if news is not None:
                    member.heed(news)
                    self._store.beat([member.record()], ttl=self.TTL)
            except Unavailable as error:
                log.warning("%s: %s", self.name, error)

    def _ask(self) -> News:
        self._news = None
        try:
            self._news = self._store.news()
        finally:
            self._asked_at = self._clock.monotonic()
        return self._news


def retire(store: Store, consumer_id: str) -> None:
    """Tell the store that a consumer is gone."""
    try:
        store.retire([consumer_id])
    except Unavailable as error:
        log.warning("%s: %s", StoreWatch.name, error)
