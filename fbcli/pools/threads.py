"""A pool of threads that grows on demand and shrinks when idle.

Workers take tasks one by one from a shared deque (an atomic operation of 40 ns), so that no task is
stuck behind a long one; what costs is waking a thread, and that is done only when it helps: while
tasks are short, few threads stay awake.
"""

from __future__ import annotations

import copy
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Generic

from fbcli.pools.base import Done, Execute, Pool, T
from fbcli.pools.slot import Slot

IDLE_SECONDS = 30.0
"""How long a thread waits for work before it ends."""

BRISK_WAIT = 0.005
"""Seconds after which tasks that were expected to be short, and still wait, get another thread."""


class _Worker(Generic[T]):
    """One thread: its slot, and what wakes it (a lock, held while it shall sleep)."""

    __slots__ = ("slot", "wakeup")

    def __init__(self) -> None:
        self.slot: Slot[T] = Slot()
        self.wakeup = threading.Lock()
        self.wakeup.acquire()


class ThreadPool(Pool[T]):
    """Threads are daemons: a call that never returns cannot keep the process alive."""

    def __init__(
        self,
        size: int,
        execute: Execute[T],
        done: Done[T],
        *,
        name: str = "fb",
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        super().__init__(size, done)
        self._execute = execute
        self._name = name
        self._idle_seconds = idle_seconds
        self._tasks: deque[T] = deque()
        self._mutex = threading.Lock()
        self._idle: list[_Worker[T]] = []
        self._workers: set[_Worker[T]] = set()
        self._closed = False
        self._count = 0
        self._woken_at = 0.0

    def submit(self, tasks: Sequence[T]) -> None:
        self._tasks.extend(tasks)

    def nudge(self, brisk: bool) -> float | None:
        waiting = len(self._tasks)
        if not waiting:
            return None
        with self._mutex:
            if not brisk:
                self._wake(waiting)
                return None
            now = time.monotonic()
            asleep = len(self._idle) == len(self._workers)
            if asleep or now >= self._woken_at + BRISK_WAIT:
                self._woken_at = now
                self._wake(1)
            helpless = not self._idle and len(self._workers) >= self.size
        return None if helpless else BRISK_WAIT

    def _wake(self, wanted: int) -> None:
        """Wake, or else start, up to `wanted` workers. Holding the mutex."""
        while wanted > 0 and self._idle:
            self._idle.pop().wakeup.release()
            wanted -= 1
        for _ in range(min(wanted, self.size - len(self._workers))):
            worker: _Worker[T] = _Worker()
            self._workers.add(worker)
            self._count += 1
            threading.Thread(
                target=self._work, args=(worker,), name=f"{self._name}-{self._count}", daemon=True
            ).start()

    def pending(self) -> int:
        return len(self._tasks)

    def running(self) -> list[T]:
        with self._mutex:
            return [task for worker in self._workers if (task := worker.slot.current) is not None]

    def take_back(self) -> list[T]:
        taken: list[T] = []
        while True:
            try:
                taken.append(self._tasks.popleft())
            except IndexError:
                return taken

    def interrupt(self, task: T, exception: type[BaseException]) -> bool:
        return any(worker.slot.interrupt(task, exception) for worker in self._all())

    def abandon(self, task: T) -> T | None:
        for worker in self._all():
            if worker.slot.abandon(task):
                with self._mutex:
                    self._workers.discard(worker)
                    self._wake(min(1, len(self._tasks)))
                return copy.copy(task)
        return None

    def _all(self) -> list[_Worker[T]]:
        with self._mutex:
            return list(self._workers)

    def resize(self, size: int) -> None:
        with self._mutex:
            self.size = size
            for _ in range(min(len(self._workers) - size, len(self._idle))):
                self._idle.pop(0).wakeup.release()

    def close(self) -> None:
        with self._mutex:
            self._closed = True
            while self._idle:
                self._idle.pop().wakeup.release()

    def _work(self, worker: _Worker[T]) -> None:
        slot, execute, done, tasks = worker.slot, self._execute, self._done, self._tasks
        take = tasks.popleft
        slot.take()
        while True:
            try:
                slot.current = task = take()
            except IndexError:
                if self._rest(worker):
                    continue
                return
            try:
                execute(task)
            except BaseException:  # noqa: BLE001, S110  an interrupt that came between its outcome and here; `done` sees which
                pass
            if slot.leave():
                return
            done(task, not tasks)
            if len(self._workers) > self.size:
                with self._mutex:
                    if self._surplus(worker):
                        return

    def _rest(self, worker: _Worker[T]) -> bool:
        """Wait to be woken; False when the thread shall end."""
        with self._mutex:
            if self._tasks and len(self._workers) <= self.size:
                return True
            if self._surplus(worker):
                return False
            self._idle.append(worker)
        if not worker.wakeup.acquire(timeout=self._idle_seconds):
            with self._mutex:
                if worker in self._idle:
                    self._idle.remove(worker)
                    self._workers.discard(worker)
                    return False
            worker.wakeup.acquire()
        with self._mutex:
            return not self._surplus(worker)

    def _surplus(self, worker: _Worker[T]) -> bool:
        """Whether this worker is one too many; then it is taken off the list. Holding the mutex."""
        if not self._closed and len(self._workers) <= self.size:
            return False
        self._workers.discard(worker)
        return True
