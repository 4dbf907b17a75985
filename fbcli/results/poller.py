"""Looks out for the results of many tasks at once, for all who wait in this process: one thread,
and one question to a store for all that is waited for there.

It asks often while something is new, and ever less the longer it waits; and never so often that
asking takes more than a tenth of the time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Protocol

from fbcli.clock import SYSTEM, Clock
from fbcli.errors import Unavailable
from fbcli.platform.forks import PerProcess
from fbcli.stores.base import Result, Store

SHORTEST, LONGEST = 0.005, 0.25
"""Seconds between two looks; in between a tenth of the time since anything was new."""

BATCH = 1000
"""How many results are asked for in one round trip."""

IDLE_SECONDS = 5.0
"""How long the thread stays when nothing is waited for."""


class ResultWatcher(Protocol):
    """Told what has come, in the poller's thread: it takes note, and returns at once."""

    def arrived(self, result: Result) -> None:
        """A task has ended. Told once for each."""

    def troubled(self, error: Unavailable) -> None:
        """The store cannot be reached; it is asked again as long as somebody watches."""


class Poller:
    """Watches for results. Thread-safe."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._wanted: dict[Store, dict[str, list[ResultWatcher]]] = {}
        self._thread: threading.Thread | None = None
        self._new_at = 0.0
        """When anything was new: somebody began to wait, or a result came (monotonic seconds)."""

    def watch(self, store: Store, task_ids: Iterable[str], watcher: ResultWatcher) -> None:
        """Tell `watcher` of the results of these tasks as soon as they are there."""
        with self._changed:
            wanted = self._wanted.setdefault(store, {})
            for task_id in dict.fromkeys(task_ids):
                wanted.setdefault(task_id, []).append(watcher)
            self._new_at = self._clock.monotonic()
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="fb-results", daemon=True)
                self._thread.start()
            self._changed.notify()

    def unwatch(self, store: Store, task_ids: Iterable[str], watcher: ResultWatcher) -> None:
        """Tell it no more. What it was not told of is forgotten."""
        with self._changed:
            wanted = self._wanted.get(store, {})
            for task_id in task_ids:
                if watcher in wanted.get(task_id, ()):
                    wanted[task_id].remove(watcher)
                    if not wanted[task_id]:
                        del wanted[task_id]
            if not wanted:
                self._wanted.pop(store, None)

    def look(self) -> None:
        """Ask every store once, and tell what has come: what ended first comes first."""
        with self._changed:
            asked = [(store, list(wanted)) for store, wanted in self._wanted.items()]
        for store, task_ids in asked:
            try:
                self._tell(store, results_of(store, task_ids))
            except Unavailable as error:
                self._warn(store, error)

    def _tell(self, store: Store, results: Sequence[Result]) -> None:
        for result in results:
            with self._changed:
                wanted = self._wanted.get(store, {})
                watchers = wanted.pop(result.task_id, [])
                if not wanted:
                    self._wanted.pop(store, None)
                self._new_at = self._clock.monotonic()
            for watcher in watchers:
                watcher.arrived(result)

    def _warn(self, store: Store, error: Unavailable) -> None:
        with self._changed:
            watchers = {
                id(each): each
                for watching in self._wanted.get(store, {}).values()
                for each in watching
            }
        for watcher in watchers.values():
            watcher.troubled(error)

    def _serve(self) -> None:
        while self._has_work():
            begun = self._clock.monotonic()
            self.look()
            self._pause(begun, self._clock.monotonic())

    def _has_work(self) -> bool:
        """Whether anything is waited for; else wait for that a little. When False, the thread
        ends."""
        with self._changed:
            if not self._wanted:
                self._changed.wait(IDLE_SECONDS)
            if not self._wanted:
                self._thread = None
            return self._thread is not None

    def _pause(self, begun: float, ended: float) -> None:
        """Wait until the next look is due; who begins to wait meanwhile makes that earlier."""
        with self._changed:
            while self._wanted:
                pause = min(LONGEST, max(SHORTEST, (self._clock.monotonic() - self._new_at) / 10))
                left = ended + max(pause, 9 * (ended - begun)) - self._clock.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)


def results_of(store: Store, task_ids: Sequence[str]) -> list[Result]:
    """Return the results that are there, what ended first before the others. Raises
    `Unavailable`."""
    found: list[Result] = []
    for start in range(0, len(task_ids), BATCH):
        found += store.results_of(task_ids[start : start + BATCH]).values()
    return sorted(found, key=lambda result: result.finished)


_own: PerProcess[Poller] = PerProcess()


def poller() -> Poller:
    """Return the one of this process. A forked child gets one of its own: it has not inherited the
    thread."""
    return _own.get(Poller)
