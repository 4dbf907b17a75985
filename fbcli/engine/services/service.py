"""What every small service of a consuming process is: a duty done now and then in a thread of its
own, so that none holds up another. Start and stop are idempotent; a service that meets a dead
broker or store, or any other error, says so once and goes on.

Shutdown order (`Consumer`): the intake ends first (it settles and gives back), then the heartbeat
(it kept the lease until then), then the watch.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from fbcli.errors import FbError

log = logging.getLogger("fbcli.consumer")


class Trouble:
    """Does a duty whatever happens, and tells of trouble once, until it is over: a heartbeat that
    ended in silence would cost the lease."""

    __slots__ = ("_name", "troubled")

    def __init__(self, name: str) -> None:
        self._name = name
        self.troubled = False

    def attempt(self, duty: Callable[[], float | None]) -> float | None:
        """Return what the duty returns; None when it fails."""
        try:
            wait = duty()
        except Exception as error:
            if not self.troubled:
                foreseen = isinstance(error, FbError)
                log.warning(
                    "%s: %s",
                    self._name,
                    error if foreseen else repr(error),
                    exc_info=not foreseen,
                )
            self.troubled = True
            return None
        self.troubled = False
        return wait


class Service(ABC):
    """Calls `beat` every `period` seconds until stopped."""

    name = "service"

    def __init__(self, period: float) -> None:
        self.period = period
        self._ended = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._trouble = Trouble(self.name)

    def start(self) -> None:
        """Begin; once. What was stopped stays so."""
        with self._starting:
            if self._thread is None and not self._ended.is_set():
                self._thread = threading.Thread(
                    target=self._serve, name=f"fb-{self.name}", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """End, and wait for the duty that is being done."""
        with self._starting:
            self._ended.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    @abstractmethod
    def beat(self) -> float | None:
        """Do the duty once. Returns seconds until the next time, where that is not `period`."""

    def _serve(self) -> None:
        wait = 0.0
        while not self._ended.wait(wait):
            wait = self._trouble.attempt(self.beat) or self.period
