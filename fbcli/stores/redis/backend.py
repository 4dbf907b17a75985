"""A store in Redis: one server, sentinels or a cluster, beside the queues of the same server.

Every key begins with `fb:`, and either expires or belongs to whoever removes it (`PERMANENT`).
Whatever changes more than one thing is a script, all keys of which are in one slot of a cluster,
and goes by the server's clock. How each facet lies in the server stands in its file.
"""

from __future__ import annotations

from collections.abc import Sequence

from fbcli.broker import Broker
from fbcli.clients.lua import Call, LuaScript, Step, together
from fbcli.clients.redis import place_of
from fbcli.clock import SYSTEM, Clock
from fbcli.stores.facets import Backend
from fbcli.stores.redis.claims import RedisClaims, free_step, mark_step
from fbcli.stores.redis.notices import RedisNotices
from fbcli.stores.redis.parked import RedisParked
from fbcli.stores.redis.rates import RedisRates
from fbcli.stores.redis.results import RedisResults, save_calls, save_step
from fbcli.stores.redis.server import RedisServer
from fbcli.stores.writes import Mark, Save, Write

PERMANENT = ("fb:{notices}:pauses", "fb:{notices}:limits", "fb:marks:", "fb:parked:")
"""Beginnings of the keys that may be without expiry: a pause without end, limits, marks for ever,
and messages that wait for their time."""


class RedisBackend(Backend):
    """`redis://`, `rediss://`, `redis+list://`, `redis+sentinel://`, `redis+cluster://`: see
    `fbcli.clients.redis`."""

    reach = "network"

    def __init__(self, url: str, clock: Clock = SYSTEM) -> None:
        super().__init__(url)
        self._server = server = RedisServer(url)
        self.notices: RedisNotices = RedisNotices(server)
        self.results = RedisResults(server, clock)
        self.claims: RedisClaims = RedisClaims(server)
        self.rates = RedisRates(server)
        self.parked = RedisParked(server)

    def write(self, writes: Sequence[Write]) -> None:
        if not self._server.is_cluster:
            self._server.run(*together(self.prepared(writes)))
            return
        first: list[Call] = []
        then: list[Call] = []
        for write in writes:
            if isinstance(write, Save):
                puts, notes = save_calls(write)
                first += puts
                then += notes
            else:
                step = mark_step(write) if isinstance(write, Mark) else free_step(write)
                then.append(Call(LuaScript(step.text), step.keys, step.arguments))
        for calls in (first, then):
            if calls:
                self._server.run_all(calls)

    def shares(self, broker: Broker) -> bool:
        here = place_of(self.url)
        return broker.also == "lua" and here is not None and here == place_of(broker.url)

    def prepared(self, writes: Sequence[Write]) -> list[Step]:
        """Note: frees need no memory, and go last (`together`)."""
        steps = [save_step(write) for write in writes if isinstance(write, Save)]
        steps += [mark_step(write) for write in writes if isinstance(write, Mark)]
        return steps + [free_step(write) for write in writes if not isinstance(write, Save | Mark)]

    def sweep(self, kinds: Sequence[str], spaces: Sequence[str], most: int) -> int:
        """Note: results, grids, and whole spaces expire in the server by themselves."""
        removed = self.notices.sweep(kinds, most)
        while removed < most and spaces and (marks := self.claims.sweep(spaces)):
            removed += marks
        return removed

    def close(self) -> None:
        self._server.close()
