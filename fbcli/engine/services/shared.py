"""Services that the consumers of a process share: one thread for each kind and each server it talks
to, however many functions are consumed.

What shares a thread, and what must not: a duty waits for one server only, so that a broker or store
that is slow or dead holds up nothing but what needs that very server. Leases (`Heartbeat`) share a
thread with nothing else, and one each for each broker (of a cluster: each node); what is kept in a
store (`StoreWatch`, `ClaimKeeper`) has other threads, one each for each store.
"""

from __future__ import annotations

import os
import threading
from abc import abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from fbcli.engine.services.service import Service, Trouble

M = TypeVar("M")


class SharedService(Service, Generic[M]):
    """A duty done for all its members in one go. Ends with the last of them."""

    def __init__(self, period: float) -> None:
        super().__init__(period)
        self._members: tuple[M, ...] = ()
        self._changing = threading.Lock()
        self._duty = threading.Lock()
        """Held while the duty is done."""

    def join(self, member: M) -> None:
        """Do it for this one, too."""
        with self._changing:
            self._members = (*self._members, member)

    def leave(self, member: M) -> bool:
        """Do it for this one no more; False when none is left."""
        with self._changing:
            self._members = tuple(each for each in self._members if each is not member)
            return bool(self._members)

    def wait(self) -> None:
        """Wait for the duty that is being done: after that nothing is done for one that has
        left."""
        with self._duty:
            return

    def beat(self) -> float | None:
        with self._duty:
            return self.attend(self._members)

    @abstractmethod
    def attend(self, members: Sequence[M]) -> float | None:
        """Do the duty for all of these. Returns seconds until the next time, where that is not
        `period`."""


class Duty(Protocol):
    """What can be done for one consumer without waiting for anything but its server."""

    name: str

    def beat(self) -> float | None:
        """Do it once. Returns seconds until the next time, where that is not the period."""


class Rounds(SharedService[Duty]):
    """Does the duties of its members one after the other; the trouble of one is not another's."""

    name = "rounds"

    def __init__(self, period: float) -> None:
        super().__init__(period)
        self._troubles: dict[int, Trouble] = {}

    def attend(self, members: Sequence[Duty]) -> float | None:
        before, self._troubles = self._troubles, {}
        soonest = self.period
        for member in members:
            trouble = before.get(id(member)) or Trouble(member.name)
            self._troubles[id(member)] = trouble
            wait = trouble.attempt(member.beat)
            soonest = min(soonest, wait or self.period)
        return soonest


class Membership:
    """A consumer's part in one service."""

    def __init__(
        self, service: SharedService[Any], leave: Callable[[], None], retire: Callable[[], None]
    ) -> None:
        self.service = service
        self._leave = leave
        self.retire = retire
        """The consumer has ended, and left all its services: take leave of broker and store."""

    def leave(self) -> None:
        """The service does nothing for the consumer any more, once this returns. Idempotent."""
        self._leave()


class Services:
    """The shared services of one process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Hashable, SharedService[Any]] = {}

    def join(
        self,
        key: Hashable,
        make: Callable[[], SharedService[M]],
        member: M,
        retire: Callable[[], None] = lambda: None,
    ) -> Membership:
        """Have a service do its duty for `member`: the one that is known by `key`, or a new one."""
        with self._lock:
            if key not in self._running:
                self._running[key] = make()
            service = self._running[key]
            service.join(member)
        service.start()

        def leave() -> None:
            with self._lock:
                others = service.leave(member)
                last = not others and self._running.get(key) is service
                if last:
                    del self._running[key]
            if last:
                service.stop()
            else:
                service.wait()

        return Membership(service, leave, retire)


_of_processes: dict[int, Services] = {}


def process_services() -> Services:
    """Return the services of this process. A fork has none of its parent's threads, and so begins
    with new ones."""
    return _of_processes.setdefault(os.getpid(), Services())
