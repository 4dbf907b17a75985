"""Where a thread runs one task after another, and how another thread interrupts just the one it
means.

CPython raises an "asynchronous exception" in a thread at its next bytecode that looks for one
(`PyThreadState_SetAsyncExc`). Note: it may be raised late, after the task has ended. A slot makes
sure that it is then taken back, and never hits the next task.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Generic

from fbcli.pools.base import T

_raise_in_thread = ctypes.pythonapi.PyThreadState_SetAsyncExc
_raise_in_thread.argtypes = [ctypes.c_ulong, ctypes.py_object]
_NULL = ctypes.py_object()


class Slot(Generic[T]):
    """One thread's place. `current` is set by that thread alone; everything else under the lock."""

    __slots__ = ("_abandoned", "_ident", "_interrupted", "_lock", "current")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ident = 0
        self._interrupted = False
        self._abandoned = False
        self.current: T | None = None

    def take(self) -> None:
        """Make this the calling thread's slot."""
        self._ident = threading.get_ident()

    def leave(self) -> bool:
        """The current task has ended: from now on nothing is raised for it. True when it had been
        given up before."""
        while True:
            try:
                with self._lock:
                    self.current = None
                    if self._interrupted:
                        self._interrupted = False
                        _raise_in_thread(self._ident, _NULL)
                    return self._abandoned
            except BaseException:  # noqa: BLE001, S112  the interrupt itself, raised in here at the last moment
                continue

    def interrupt(self, task: T, exception: type[BaseException]) -> bool:
        """Raise `exception` in the slot's thread if it still runs that task."""
        with self._lock:
            if self.current is not task:
                return False
            self._interrupted = True
            return bool(_raise_in_thread(self._ident, ctypes.py_object(exception)))

    def abandon(self, task: T) -> bool:
        """Mark the slot as lost with its task; False if it does not run that task any more."""
        with self._lock:
            if self.current is not task:
                return False
            self._abandoned = True
            return True
