"""What every small service of a consuming process is: a duty done now and then in a thread of its
own, so that none holds up another. Start and stop are idempotent; a service that meets a dead
broker or store, or any other error, says so once and goes on.

Shutdown order (`Consumer.serve`): the intake ends first (it settles and gives back), then the
heartbeat (it kept the lease until then), then the watch.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod

from fbcli.errors import FbError

log = logging.getLogger("fbcli.consumer")


class Service(ABC):
    """Calls `beat` every `period` seconds until stopped."""

    name = "service"

    def __init__(self, period: float) -> None:
        self.period = period
        self._ended = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._troubled = False

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

    def retire(self) -> None:  # noqa: B027  most leave nothing behind
        """The consumer has ended: take leave of broker and store."""

    @abstractmethod
    def beat(self) -> float | None:
        """Do the duty once. Returns seconds until the next time, where that is not `period`."""

    def _serve(self) -> None:
        wait = 0.0
        while not self._ended.wait(wait):
            wait = self.period
            try:
                wait = self.beat() or self.period
                self._troubled = False
            except Exception as error:  # a heartbeat that ended in silence would cost the lease
                if not self._troubled:
                    foreseen = isinstance(error, FbError)
                    log.warning(
                        "%s: %s",
                        self.name,
                        error if foreseen else repr(error),
                        exc_info=not foreseen,
                    )
                self._troubled = True
