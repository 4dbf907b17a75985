"""How the inboxes of one process hear of commits to their file by other processes: one of them
listens, and tells the others what is theirs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from fbcli.clients.sqlite import Database, Version
from fbcli.platform import FileWatch, system

from ..waiting import Waker
from .tables import LOOK_FOR

POLL = 0.012
"""Seconds between two looks at the file's version where the system does not tell of writes: a
hundredth of a core, and a push by another process is seen within about that time. Pushes by this
process are told at once."""

QUIET = 0.5
"""The same where the system tells: for what it may not tell, such as another file in the place of
this one."""
EAGER = 0.0005
"""Seconds from a write to the first look whether it was a commit."""


class Listener(Protocol):
    """An inbox that waits."""

    queue: str
    waker: Waker
    seen: Version | None
    """The version of the file that it has looked at."""
    next_due: float | None
    """When the next message that waits is due (Unix time), as far as it knows; None: there is
    none."""


class Commits:
    """Of one file. Whoever finds nobody listening does it; when it stops, it wakes another one for
    that. So an idle process has one watch of the file and looks once after each commit, however
    many queues it consumes, and one that consumes a single queue needs no thread for it."""

    def __init__(self, path: Path, database: Database) -> None:
        """`database`: the connection by which all of them claim."""
        self._path = Path(f"{path}-wal")
        self._database = database
        self._waiting: dict[int, Listener] = {}
        self._changing = threading.Lock()
        self._listening = threading.Lock()
        self._file_watch: FileWatch | None = None
        """Used by the one that listens."""

    def wait(self, inbox: Listener, seconds: float) -> bool:
        """Wait until there may be something for an inbox, or its waker rings; at most so long.
        Return whether it must look, whatever else it knows."""
        end = time.monotonic() + seconds
        with self._changing:
            self._waiting[id(inbox)] = inbox
        try:
            # Whoever listens did not know of this one before: what was committed meanwhile is
            # nobody else's to see.
            if self._database.version() != inbox.seen:
                return True
            while (left := end - time.monotonic()) > 0:
                if self._listening.acquire(blocking=False):
                    try:
                        return self._listen(inbox, left)
                    finally:
                        self._listening.release()
                if inbox.waker.wait(left):
                    return False
        finally:
            self._leave(inbox)
        return False

    def close(self) -> None:
        """Nobody waits any more."""
        self._file_watch = None

    def _leave(self, inbox: Listener) -> None:
        """See to it that somebody listens. Its waker says that there may be something: then it
        looks once, and comes back to listen."""
        with self._changing:
            del self._waiting[id(inbox)]
            heir = next(iter(self._waiting.values()), None)
        if heir is not None and not self._listening.locked():
            heir.waker.notify()

    def _listen(self, inbox: Listener, seconds: float) -> bool:
        """Wait for commits, for all that wait.

        Note: the system tells when the log is written, which is before the commit can be seen, on a
        slow disk long before. So after each write one looks again and again, less and less often.
        """
        end, pause, known = time.monotonic() + seconds, QUIET, inbox.seen
        while (left := end - time.monotonic()) > 0:
            if self._file_watch is None:
                self._file_watch = system.watch_file(self._path)
            watch = self._file_watch
            if watch is None:
                heard = "waker" if inbox.waker.wait(min(left, POLL)) else "nothing"
            else:
                heard = inbox.waker.wait_for_file(watch, min(left, pause))
            if heard == "waker":
                return False
            stale = watch is not None and watch.is_stale()
            if stale:
                self._file_watch = None
            version = self._database.version()
            if stale or version != known:
                known = version
                if self._is_for(inbox) or stale:
                    return True
            pause = EAGER if heard == "source" else min(QUIET, pause * 1.6)
        return False

    def _is_for(self, inbox: Listener) -> bool:
        """Look for all that wait what a commit has brought; tell the others, and return whether it
        may be for this one."""
        with self._changing:
            others = [each for each in self._waiting.values() if each is not inbox]
        if not others:
            return True  # it looks itself
        found = self._look([inbox.queue, *{each.queue for each in others}])
        for other in others:
            if _is_news(other, found):
                other.waker.notify()
        return _is_news(inbox, found)

    def _look(self, queues: Sequence[str]) -> dict[str, tuple[bool, float | None]]:
        """Return of each queue whether anything is ready, and when the next that waits is due."""
        with self._database.reading() as connection:
            rows = connection.execute(LOOK_FOR, (json.dumps(queues),))
            return {queue: (bool(ready), due) for queue, ready, due in rows}


def _is_news(inbox: Listener, found: dict[str, tuple[bool, float | None]]) -> bool:
    ready, due = found.get(inbox.queue, (False, None))
    return ready or (due is not None and (inbox.next_due is None or due < inbox.next_due))
