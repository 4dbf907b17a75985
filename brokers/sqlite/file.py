"""One file of queues as a process that consumes uses it: the connections that its inboxes share,
how they hear of each other and of other processes, and their heartbeats, all in one transaction."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fbcli.clients.sqlite import Database

from .tables import SCHEMA

if TYPE_CHECKING:
    from ..waiting import Waker
    from .commits import Commits
    from .inbox import SqliteInbox

SPACE_SECONDS = 0.02
"""How long a heartbeat gives back the file's space."""
LAST_SPACE_SECONDS = 0.5
"""The same for the end of the last consumer, if it has so much to give back."""


class QueueFile:
    """Shared by all brokers of this process that have the same file, as long as any has an inbox.

    Claims and heartbeats have a connection each: a long claim must not hold up a lease.
    """

    def __init__(self, path: Path) -> None:
        from .commits import Commits  # noqa: PLC0415  8 ms that a push does not need

        self.claims = Database(path, SCHEMA, synchronous="NORMAL")
        self.beats = Database(path, SCHEMA, synchronous="NORMAL")
        self.beating = threading.Lock()
        """Held while leases are extended, or ended."""
        self.commits: Commits = Commits(path, self.claims)
        self._wakers: defaultdict[str, weakref.WeakSet[Waker]] = defaultdict(weakref.WeakSet)
        self._changing = threading.Lock()
        self._inboxes = 0
        self._space_at = 0.0

    def enter(self, queue: str, waker: Waker) -> None:
        """An inbox opens."""
        with self._changing:
            self._inboxes += 1
            self._wakers[queue].add(waker)

    def leave(self) -> None:
        """An inbox has closed. The last one closes the connections."""
        with self._changing:
            self._inboxes -= 1
            if self._inboxes:
                return
            try:
                self.claims.give_back_space(LAST_SPACE_SECONDS)
            finally:
                self.claims.close()
                self.beats.close()
                self.commits.close()

    def tell(self, queue: str) -> None:
        """Tell the consumers of this process that there is news."""
        with self._changing:
            wakers = list(self._wakers.get(queue, ()))
        for waker in wakers:
            waker.notify()

    def keep_alive(self, inboxes: Sequence[SqliteInbox]) -> list[int]:
        """See `Broker.keep_alive`."""
        with self.beating:
            given_back = [0] * len(inboxes)
            if all(inbox.closed for inbox in inboxes):
                return given_back
            with self.beats.writing() as connection:
                now = time.monotonic()  # see `FIND_DEAD`
                for place, inbox in enumerate(inboxes):
                    if not inbox.closed:
                        given_back[place] = inbox.extend(connection, now)
            self._give_back_space()
        for inbox, count in zip(inboxes, given_back, strict=True):
            if count:
                self.tell(inbox.queue)
        return given_back

    def _give_back_space(self) -> None:
        """Let the file shrink a little, at most once a second: heartbeats have the time."""
        now = time.monotonic()
        if now >= self._space_at:
            self._space_at = now + 1
            self.beats.give_back_space(SPACE_SECONDS)


_open: weakref.WeakValueDictionary[tuple[int, Path], QueueFile] = weakref.WeakValueDictionary()
_opening = threading.Lock()


def open_file(path: Path) -> QueueFile:
    """Return the file at `path` as this process uses it."""
    with _opening:
        key = (
            os.getpid(),
            path,
        )  # a fork has its own: nobody listens there for those of its parent
        file = _open.get(key)
        if file is None:
            file = _open[key] = QueueFile(path)
        return file


def file_in_use(path: Path) -> QueueFile | None:
    """Return the same, if this process consumes from it."""
    return _open.get((os.getpid(), path))
