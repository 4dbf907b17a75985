"""How a process keeps the lease of a consumer that lives in another one. Imports nothing but the
standard library: whoever keeps leases has nothing to do with messages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence


class Beat(ABC):
    """What is needed to extend the lease of one inbox. Can be pickled, and holds the password of
    the server where there is one."""

    place: str
    """Beats of one place go through one `LeaseKeeper`."""

    @abstractmethod
    def keeper(self) -> LeaseKeeper:
        """Return what extends leases of this place. Nothing is connected yet."""


class LeaseKeeper(ABC):
    """A connection by which leases are extended. Used by one thread, and by the process that made
    it."""

    @abstractmethod
    def extend(self, beats: Sequence[Beat]) -> None:
        """Extend these leases, all of this place, from now on. One that is lost, or ended by its
        consumer, stays so. Raises `Unavailable`; the next call tries to connect anew."""

    @abstractmethod
    def close(self) -> None:
        """Hang up; the leases run out by themselves. Idempotent."""
