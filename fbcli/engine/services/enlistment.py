"""Which services a consumer needs, and its part in each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fbcli.clock import Clock
from fbcli.controls.claims import LEASE_BEATS
from fbcli.engine.ending import Ending
from fbcli.engine.services.claim_keeper import Claiming, ClaimKeeper, give_back
from fbcli.engine.services.heartbeat import Beating, Heartbeat
from fbcli.engine.services.shared import Duty, Membership, Rounds, Services
from fbcli.engine.services.store_watch import StoreWatch, Watcher, retire
from fbcli.engine.services.watchdog import Watchdog, period_of
from fbcli.engine.tally import Tally
from fbcli.engine.work import Work
from fbcli.stores.base import ConsumerRecord

if TYPE_CHECKING:
    from fbcli.engine.assembly import Assembly


def enlist(
    services: Services,
    work: Work,
    parts: Assembly,
    *,
    owner: str,
    tally: Tally,
    ending: Ending,
    record: Callable[[], ConsumerRecord],
    give_in: Callable[[str], None],
    clock: Clock,
) -> Sequence[Membership]:
    """Have all be done for a consumer that it needs beside its work; return its parts in that, in
    the order in which to leave them.

    `owner`: what it is called in the store; `record` returns what it says of itself; `give_in` is
    called with the reason when it is deaf. What the store says is known when this returns, if it
    answers.
    """
    enlisting = _Enlisting(services, work, clock)
    watch = enlisting.watch(Watcher(record, parts.heeds, parts.planner.fading), owner)
    return [
        enlisting.heartbeat(Beating(parts.inbox, tally)),
        watch,
        *enlisting.claims(parts.planner.spaces, owner),
        *enlisting.watchdog(parts, ending, give_in),
    ]


class _Enlisting:
    """Services are told apart by what they talk to: two brokers of one URL are one server."""

    def __init__(self, services: Services, work: Work, clock: Clock) -> None:
        self._services = services
        self._work = work
        self._clock = clock
        self._broker = (type(work.broker), work.broker.url)
        self._store = (type(work.store), work.store.url)
        self._beat = work.options.heartbeat / 2

    def heartbeat(self, member: Beating) -> Membership:
        broker = self._work.broker
        key = ("heartbeat", *self._broker, broker.lease_group(self._work.queue), self._beat)
        return self._services.join(key, lambda: Heartbeat(broker, self._beat), member)

    def watch(self, member: Watcher, owner: str) -> Membership:
        store = self._work.store
        joined = self._services.join(
            ("watch", *self._store),
            lambda: StoreWatch(store, self._clock),
            member,
            lambda: retire(store, owner),
        )
        assert isinstance(joined.service, StoreWatch)
        joined.service.first_look(member)
        return joined

    def claims(self, spaces: Sequence[str], owner: str) -> list[Membership]:
        if not spaces:
            return []
        lease = self._work.options.heartbeat * LEASE_BEATS
        store, claiming = self._work.store, Claiming(spaces, owner)
        return [
            self._services.join(
                ("claims", *self._store, self._beat),
                lambda: ClaimKeeper(store, lease, self._beat),
                claiming,
                lambda: give_back(store, claiming),
            )
        ]

    def watchdog(
        self, parts: Assembly, ending: Ending, give_in: Callable[[str], None]
    ) -> list[Membership]:
        broker, queue, limit = self._work.broker, self._work.queue, self._work.options.watchdog
        if not limit or not broker.capabilities.size:
            return []

        def ready() -> int:
            return broker.size(queue).ready

        dog: Duty = Watchdog(parts.intake.fetcher, ending, ready, give_in, limit, self._clock)
        key = ("watchdog", *self._broker, limit)
        return [self._services.join(key, lambda: Rounds(period_of(limit)), dog)]
