"""What a backend of a store writes: facets of a few primitives each. The verbs of the domain stand
above them, once for all backends (`fbcli.stores.base`).

A backend knows names, bytes and times, and nothing of tasks, options or brokers. Times are Unix
seconds of its own clock where it has one. What has an end is not seen any more from then on, and
removed by `sweep`. Every primitive raises `Unavailable` when the backend cannot be reached, and
connects anew at the next call; each may be repeated, since nobody knows of a call whose answer was
lost whether it was carried out. Thread-safe.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fbcli.broker import Broker
    from fbcli.stores.writes import Write

BUSY, GRANTED, DONE = 0, 1, 2
"""The answers to a claim."""


class Notice(NamedTuple):
    """A named text of some kind."""

    body: bytes
    at: float
    """When it was put (Unix time)."""
    left: float | None
    """Seconds until it ends; None: it does not by itself."""


class Tokens(NamedTuple):
    """Slots of a shared rate's grid."""

    count: int  # type: ignore[assignment]  # tuples have a method of that name
    """How many were taken, side by side on the grid; 0: none is free near enough."""
    wait: float
    """Seconds from now to the first of them (below 0: it is due); with none taken, to the next free
    one."""


class Waiting(NamedTuple):
    """Something that waits for its time."""

    name: str
    due: float
    """Unix time."""
    body: bytes


class NoticeFacet(ABC):
    """Small texts by kind and name, each until it is removed or has ended. Of some kinds there are
    few, of some many thousands, of none millions."""

    @abstractmethod
    def put(self, kind: str, bodies: Mapping[str, bytes], ttl: float | None) -> None:
        """Put texts by name, for `ttl` seconds or (None) for good; later ones replace the earlier.
        What is put for a minute at most need not be on the disk."""

    @abstractmethod
    def remove(self, kind: str, names: Collection[str]) -> int:
        """Remove texts; return how many were there and had not ended."""

    @abstractmethod
    def read(self, kinds: Sequence[str]) -> list[dict[str, Notice]]:
        """Return all texts of each kind by name, in one round trip."""


class ResultFacet(ABC):
    """Results by task id. They are written by `writes.Save`."""

    @abstractmethod
    def get(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        """Return those that are there, in one round trip."""

    @abstractmethod
    def wait(self, task_id: str, timeout: float) -> bytes | None:
        """Return one as soon as it is there, at once if it is; None after `timeout` seconds."""

    @abstractmethod
    def newest(self, queue: str | None, limit: int) -> list[bytes]:
        """Return the last that were saved, newest first, of one queue or (None) of all. A backend
        may know only the last some thousands so."""


class ClaimFacet(ABC):
    """Who works on what, and what is done. A claim is one call's: it has an owner, with whose lease
    it ends, and a token, by which it is given back, and which no other claim of the owner has.
    They are given back, and marks are made, by `writes.Free` and `writes.Mark`."""

    @abstractmethod
    def claim(
        self,
        space: str,
        keys: Sequence[str],
        tokens: Sequence[str],
        *,
        owner: str,
        lease: float,
        limit: int,
        repeat: bool,
    ) -> Sequence[int]:
        """Claim each key, in order: `GRANTED` while fewer than `limit` claims are on it, and, with
        `repeat`, for a token that has it already; `BUSY` when not; `DONE` when it is marked. All
        claims of an owner in a space live until `lease` seconds after its last `claim` or `keep`
        there, and end together."""

    @abstractmethod
    def keep(self, held: Sequence[tuple[str, str]], lease: float) -> None:
        """Let all claims in each of these spaces of the owner named with it live for `lease` more
        seconds, in one round trip. Those that have ended stay so."""

    @abstractmethod
    def drop(self, spaces: Sequence[str], owner: str) -> None:
        """Give all claims of `owner` in these spaces back."""

    @abstractmethod
    def unmark(self, space: str, keys: Sequence[str] | None) -> int:
        """Forget marks (None: all of the space); return how many there were."""


class RateFacet(ABC):
    """Evenly spaced slots that many share (`fbcli.stores.grid` has the arithmetic)."""

    @abstractmethod
    def take(self, key: str, qps: float, count: int, *, ahead: float, slack: float) -> Tokens:
        """Take up to `count` of the next free slots: see `Store.take_tokens`."""


class ParkedFacet(ABC):
    """Things that wait in lines for their time."""

    @abstractmethod
    def park(self, line: str, waiting: Sequence[Waiting]) -> None:
        """Keep these; confirmed when it returns. One of the same name is replaced."""

    @abstractmethod
    def due(self, line: str, limit: int, lease: float) -> list[Waiting]:
        """Hand out up to `limit` whose time has come, soonest first. Each is handed to nobody else
        for `lease` seconds."""

    @abstractmethod
    def waiting(self, line: str, limit: int) -> list[Waiting]:
        """Return up to `limit`, soonest first, taking none."""

    @abstractmethod
    def count(self, line: str) -> int:
        """Count what waits in a line."""

    @abstractmethod
    def lines(self) -> Collection[str]:
        """Return the lines in which something waits."""

    @abstractmethod
    def unpark(self, line: str, names: Sequence[str]) -> int:
        """Remove these; return how many were there."""


class Backend(ABC):
    """One place where a store keeps what it keeps. Constructing one does not connect."""

    reach: str
    """Who can share it: `process`, `host` or `network`."""

    notices: NoticeFacet
    results: ResultFacet
    claims: ClaimFacet
    rates: RateFacet
    parked: ParkedFacet

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    def write(self, writes: Sequence[Write]) -> None:
        """Carry these out, in order, in as few round trips as can be; confirmed when it returns."""

    def shares(self, broker: Broker) -> bool:
        """Whether `broker` is the same place, and its inboxes carry out what `prepared` returns
        before they settle."""
        return False

    def prepared(self, writes: Sequence[Write]) -> Any:
        """Return writes in the form in which an inbox of a broker that is `shared` takes them
        along. Only asked where it is."""
        raise NotImplementedError

    @abstractmethod
    def sweep(self, kinds: Sequence[str], spaces: Sequence[str], most: int) -> int:
        """Remove up to about `most` of what has ended: notices of these kinds, results, and claims
        and marks of `spaces` at least. Return how many that were: with `most` there may be more.
        """

    @abstractmethod
    def close(self) -> None:
        """Close all connections. Idempotent; a later use opens them again."""
