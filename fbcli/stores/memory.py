"""A store inside one process, beside queues in memory: for tests, and for a pipeline that may die
with its process. The plainest form of the facets."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from weakref import WeakValueDictionary

from fbcli.broker import Broker
from fbcli.clock import SYSTEM, Clock
from fbcli.stores import grid
from fbcli.stores.facets import (
    BUSY,
    DONE,
    GRANTED,
    Backend,
    ClaimFacet,
    Notice,
    NoticeFacet,
    ParkedFacet,
    RateFacet,
    ResultFacet,
    Tokens,
    Waiting,
)
from fbcli.stores.writes import Mark, Save, Write


@dataclass
class _Space:
    """Claims and marks of one space."""

    owners: dict[str, float] = field(default_factory=dict)
    """When the claims of each end."""
    claims: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    """Key -> who has it: owner and token of each claim."""
    marks: dict[str, float] = field(default_factory=dict)
    """Key -> when its mark ends."""

    def drop(self, owners: Collection[str]) -> int:
        """Remove owners and all that is theirs."""
        for owner in owners:
            self.owners.pop(owner, None)
        before = len(self.claims)
        for key, holders in list(self.claims.items()):
            self._keep(key, {holder for holder in holders if holder[0] not in owners})
        return before - len(self.claims)

    def free(self, key: str, holder: tuple[str, str]) -> None:
        if key in self.claims:
            self._keep(key, self.claims[key] - {holder})

    def _keep(self, key: str, holders: set[tuple[str, str]]) -> None:
        if holders:
            self.claims[key] = holders
        else:
            del self.claims[key]

    def drop_dead(self, now: float) -> int:
        dead = [owner for owner, ends in self.owners.items() if ends <= now]
        return self.drop(dead) + len(dead) if dead else 0


class _Place:
    """What all stores of one name share. Used holding `lock`."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.notices: dict[str, dict[str, tuple[bytes, float, float]]] = {}
        """By kind and name: text, when it was put, when it ends."""
        self.results: dict[str, tuple[str, bytes, float]] = {}
        """By task id, the last that was saved at the end: queue, text, when it ends."""
        self.spaces: dict[str, _Space] = {}
        self.grids: dict[str, tuple[grid.Grid, float]] = {}
        self.parked: dict[str, dict[str, tuple[float, Waiting]]] = {}
        """By line and name: when to hand it out, and what."""
        self.ending: list[tuple[float, bool, str, str]] = []
        """A heap of when results and marks end: whether it is a mark, its space, and its key (or
        the task's id); also of some that were replaced."""

    def space(self, name: str) -> _Space:
        return self.spaces.setdefault(name, _Space())


_places: WeakValueDictionary[str, _Place] = WeakValueDictionary()
_places_lock = threading.Lock()


class MemoryBackend(Backend):
    """`memory://`, or `memory://name` for another one: the same URL is the same store."""

    reach = "process"

    def __init__(self, url: str, clock: Clock = SYSTEM) -> None:
        super().__init__(url)
        with _places_lock:
            self._place = _places.setdefault(url, _Place())
        self._clock = clock
        self.notices = _MemoryNotices(self._place, clock)
        self.results = _MemoryResults(self._place, clock)
        self.claims = _MemoryClaims(self._place, clock)
        self.rates = _MemoryRates(self._place, clock)
        self.parked = _MemoryParked(self._place, clock)

    def write(self, writes: Sequence[Write]) -> None:
        with self._place.lock:
            now = self._clock.now()
            for write in writes:
                if isinstance(write, Save):
                    self._save(write, now)
                    continue
                space = self._place.space(write.space)
                for key, token in zip(write.keys, write.tokens, strict=True):
                    space.free(key, (write.owner, token))
                if isinstance(write, Mark):
                    self._mark(write, space, now)

    def shares(self, broker: Broker) -> bool:
        return broker.also == "call" and broker.url == self.url

    def prepared(self, writes: Sequence[Write]) -> Callable[[], None]:
        return partial(self.write, writes)

    def _save(self, write: Save, now: float) -> None:
        place = self._place
        for task_id, body in zip(write.task_ids, write.bodies, strict=True):
            place.results.pop(task_id, None)
            place.results[task_id] = write.queue, body, now + write.ttl
            heapq.heappush(place.ending, (now + write.ttl, False, "", task_id))
        place.lock.notify_all()

    def _mark(self, write: Mark, space: _Space, now: float) -> None:
        for key in write.keys:
            space.marks[key] = inf if write.ttl is None else now + write.ttl
            if write.ttl is not None:
                heapq.heappush(self._place.ending, (now + write.ttl, True, write.space, key))

    def sweep(self, kinds: Sequence[str], spaces: Sequence[str], most: int) -> int:
        place = self._place
        with place.lock:
            now, removed = self._clock.now(), 0
            while place.ending and place.ending[0][0] <= now and removed < most:
                _, is_mark, name, key = heapq.heappop(place.ending)
                removed += 1
                if not is_mark:
                    if key in place.results and place.results[key][2] <= now:
                        del place.results[key]
                elif name in place.spaces and place.spaces[name].marks.get(key, inf) <= now:
                    del place.spaces[name].marks[key]
            for notices in place.notices.values():
                over = [name for name, (_, _, ends) in notices.items() if ends <= now]
                removed += len(over)
                for name in over:
                    del notices[name]
            for key in [key for key, (_, ends) in place.grids.items() if ends <= now]:
                del place.grids[key]
            for name, space in list(place.spaces.items()):
                removed += space.drop_dead(now)
                if not (space.owners or space.claims or space.marks):
                    del place.spaces[name]
            return removed

    def close(self) -> None:
        """Nothing is open."""


class _Facet:
    def __init__(self, place: _Place, clock: Clock) -> None:
        self._place = place
        self._clock = clock


class _MemoryNotices(_Facet, NoticeFacet):
    def put(self, kind: str, bodies: Mapping[str, bytes], ttl: float | None) -> None:
        with self._place.lock:
            now = self._clock.now()
            ends = inf if ttl is None else now + ttl
            here = self._place.notices.setdefault(kind, {})
            here.update((name, (body, now, ends)) for name, body in bodies.items())

    def remove(self, kind: str, names: Collection[str]) -> int:
        with self._place.lock:
            here, now = self._place.notices.get(kind, {}), self._clock.now()
            found = [here.pop(name) for name in dict.fromkeys(names) if name in here]
            return sum(ends > now for _, _, ends in found)

    def read(self, kinds: Sequence[str]) -> list[dict[str, Notice]]:
        with self._place.lock:
            now = self._clock.now()
            return [
                {
                    name: Notice(body, at, None if ends == inf else ends - now)
                    for name, (body, at, ends) in self._place.notices.get(kind, {}).items()
                    if ends > now
                }
                for kind in kinds
            ]


class _MemoryResults(_Facet, ResultFacet):
    def get(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        with self._place.lock:
            results, now = self._place.results, self._clock.now()
            return {
                task_id: results[task_id][1]
                for task_id in task_ids
                if task_id in results and results[task_id][2] > now
            }

    def wait(self, task_id: str, timeout: float) -> bytes | None:
        deadline = self._clock.monotonic() + timeout
        with self._place.lock:
            while True:
                found = self.get([task_id])
                left = deadline - self._clock.monotonic()
                if found or left <= 0:
                    return found.get(task_id)
                self._place.lock.wait(left)

    def newest(self, queue: str | None, limit: int) -> list[bytes]:
        found: list[bytes] = []
        with self._place.lock:
            now = self._clock.now()
            for of, body, ends in reversed(self._place.results.values()):
                if queue in (None, of) and ends > now:
                    found.append(body)
                    if len(found) == limit:
                        break
        return found


class _MemoryClaims(_Facet, ClaimFacet):
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
        with self._place.lock:
            here, now = self._place.space(space), self._clock.now()
            here.drop_dead(now)
            here.owners[owner] = now + lease
            answers = []
            for key, token in zip(keys, tokens, strict=True):
                holders, mine = here.claims.get(key, set()), (owner, token)
                if here.marks.get(key, -inf) > now:
                    answers.append(DONE)
                elif repeat if mine in holders else len(holders) < limit:
                    here.claims[key] = holders | {mine}
                    answers.append(GRANTED)
                else:
                    answers.append(BUSY)
            return answers

    def keep(self, held: Sequence[tuple[str, str]], lease: float) -> None:
        with self._place.lock:
            now = self._clock.now()
            for space, owner in held:
                here = self._place.space(space)
                if here.owners.get(owner, -inf) > now:
                    here.owners[owner] = now + lease

    def drop(self, spaces: Sequence[str], owner: str) -> None:
        with self._place.lock:
            for space in spaces:
                self._place.space(space).drop([owner])

    def unmark(self, space: str, keys: Sequence[str] | None) -> int:
        with self._place.lock:
            marks, now = self._place.space(space).marks, self._clock.now()
            gone = list(marks) if keys is None else [key for key in set(keys) if key in marks]
            return sum(marks.pop(key) > now for key in gone)


class _MemoryRates(_Facet, RateFacet):
    def take(self, key: str, qps: float, count: int, *, ahead: float, slack: float) -> Tokens:
        with self._place.lock:
            now = self._clock.now()
            known, ends = self._place.grids.get(key, (None, inf))
            tokens, after = grid.take(
                known if ends > now else None, now, qps, count, ahead=ahead, slack=slack
            )
            if after is not None:
                self._place.grids[key] = after, grid.forgotten_at(after, qps)
            return tokens


class _MemoryParked(_Facet, ParkedFacet):
    def park(self, line: str, waiting: Sequence[Waiting]) -> None:
        with self._place.lock:
            here = self._place.parked.setdefault(line, {})
            here.update((each.name, (each.due, each)) for each in waiting)

    def due(self, line: str, limit: int, lease: float) -> list[Waiting]:
        with self._place.lock:
            here, now = self._place.parked.get(line, {}), self._clock.now()
            ready = [(at, each.due, each.name) for at, each in here.values() if at <= now]
            taken = [here[name][1] for _, _, name in heapq.nsmallest(limit, ready)]
            here.update((each.name, (now + lease, each)) for each in taken)
            return sorted(taken, key=lambda each: each.due)

    def waiting(self, line: str, limit: int) -> list[Waiting]:
        with self._place.lock:
            here = self._place.parked.get(line, {}).values()
            first = heapq.nsmallest(limit, ((at, each.due, each.name, each) for at, each in here))
            return sorted((each for *_, each in first), key=lambda each: each.due)

    def count(self, line: str) -> int:
        with self._place.lock:
            return len(self._place.parked.get(line, ()))

    def lines(self) -> Collection[str]:
        with self._place.lock:
            return list(self._place.parked)

    def unpark(self, line: str, names: Sequence[str]) -> int:
        with self._place.lock:
            here = self._place.parked.get(line, {})
            removed = sum(here.pop(name, None) is not None for name in names)
            if not here:
                self._place.parked.pop(line, None)
            return removed
