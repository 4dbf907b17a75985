"""One task after the other in the consumer's own thread, without any hand-over: for functions that must never overlap."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from fbcli.pools.base import Done, Pool, Run
from fbcli.pools.seat import Seat

TURN_SECONDS = 0.02
"""How long short tasks run on before the consumer looks after its other duties."""


class SoloPool(Pool):
    """`nudge` runs the tasks. A call that does not react to an interrupt cannot be given up: there is no other thread."""

    def __init__(self, run: Run, done: Done) -> None:
        super().__init__(1, done)
        self._run = run
        self._tasks: deque[Any] = deque()
        self._seat = Seat()

    def submit(self, tasks: Sequence[Any]) -> None:
        self._tasks.extend(tasks)

    def nudge(self, brisk: bool) -> float | None:
        tasks, seat, run, done = self._tasks, self._seat, self._run, self._done
        seat.take()
        turn = time.monotonic() + TURN_SECONDS
        while tasks:
            seat.current = task = tasks.popleft()
            try:
                run(task)
            except BaseException:  # noqa: BLE001, S110  an interrupt that came between its outcome and here; `done` sees which
                pass
            seat.leave()
            done(task)
            if not brisk or time.monotonic() > turn:
                break
        return 0.0 if tasks else None

    def pending(self) -> int:
        return len(self._tasks)

    def running(self) -> list[Any]:
        current = self._seat.current
        return [] if current is None else [current]

    def take_back(self) -> list[Any]:
        taken = list(self._tasks)
        self._tasks.clear()
        return taken

    def interrupt(self, task_id: str, exception: type[BaseException]) -> bool:
        return self._seat.strike(task_id, exception)

    def abandon(self, task_id: str) -> Any | None:
        return None

    def resize(self, size: int) -> None:
        """A solo pool stays solo."""

    def close(self) -> None:
        self._tasks.clear()
