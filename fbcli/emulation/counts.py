"""How often messages were lost with their consumers, where the broker does not count that, or
counts releases as well."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from fbcli.broker import Action, Delivery, Settlement
from fbcli.errors import Unavailable, Unsupported
from fbcli.stores.base import Store

SECONDS = 7 * 86400.0
"""How long a count is kept after its last change."""


class LossCounts:
    """Counters in the store, by the identity of messages; for those that are delivered for the
    first time, nothing is asked or written.

    Where the broker only marks what it delivers again, a counter is the number of deliveries after
    the first, less the releases: the broker marks what comes back from these, too. Where it counts
    all deliveries, a counter is the number of releases, to be taken off.

    Note: best effort. While the store cannot be reached, or reaches less far than the broker,
    counts stand still, and no message is kept back for that.
    """

    def __init__(self, open_store: Callable[[], Store], space: str, *, all_counted: bool) -> None:
        self._open_store = open_store
        self._space = space
        self._all_counted = all_counted
        self._held: dict[int, Delivery] = {}
        self._counted: set[str] = set()
        """Names of messages in hand that have a counter, or may have one."""

    def fetched(self, deliveries: Sequence[Delivery]) -> None:
        """Put right what `deliveries` says of those that are not delivered for the first time."""
        self._held.update((id(delivery), delivery) for delivery in deliveries)
        repeated: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            if delivery.deliveries > 1:
                repeated.setdefault(_name(delivery), []).append(delivery)
        if not repeated:
            return
        self._counted.update(repeated)
        counts = self._add(repeated, 0 if self._all_counted else 1)
        for name, same in repeated.items():
            for delivery in same:
                if self._all_counted:
                    delivery.deliveries = max(1, delivery.deliveries - counts.get(name, 0))
                else:
                    delivery.deliveries = 1 + max(0, counts.get(name, 1))

    def settled(self, settlements: Sequence[Settlement]) -> None:
        """Take note of what goes back uncounted; forget what is done with."""
        for each in settlements:
            self._held.pop(id(each.delivery), None)
        released = {_name(each.delivery) for each in settlements if each.action is Action.RELEASE}
        if released:
            self._add(released, 1 if self._all_counted else -1)
        if self._counted:
            settled = {_name(each.delivery) for each in settlements} & self._counted
            self._counted -= settled
            if settled - released:
                with suppress(Unavailable, Unsupported):
                    self._open_store().forget_counts([*map(self._place, settled - released)])

    def held(self) -> list[Delivery]:
        """Return what was fetched and not settled."""
        return [*self._held.values()]

    def _add(self, names: Iterable[str], change: int) -> dict[str, int]:
        """Add to these counters; return what they are now, or nothing."""
        changes = dict.fromkeys(names, change)
        with suppress(Unavailable, Unsupported):
            counted = self._open_store().count(
                {self._place(name): each for name, each in changes.items()}, SECONDS
            )
            return dict(zip(changes, counted, strict=True))
        return {}

    def _place(self, name: str) -> str:
        return f"{self._space}:{name}"


def _name(delivery: Delivery) -> str:
    """Return the identity of a message; of one that has none, what its body makes of it."""
    if delivery.identity is not None:
        return delivery.identity
    return hashlib.sha256(delivery.body).hexdigest()[:32]
