"""Keeps the claims of consumers in the store."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from fbcli.engine.services.shared import SharedService
from fbcli.errors import Unavailable
from fbcli.stores.base import Store

log = logging.getLogger("fbcli.consumer")


class Claiming(NamedTuple):
    """A consumer whose controls claim something in the store while its tasks run."""

    spaces: Sequence[str]
    owner: str


class ClaimKeeper(SharedService[Claiming]):
    """Keeps the claims of all consumers of a store in one round trip: were it one for each, a store
    that is merely slow would cost those who come last their claims."""

    name = "claims"

    def __init__(self, store: Store, lease: float, period: float) -> None:
        super().__init__(period)
        self._store = store
        self._lease = lease

    def attend(self, members: Sequence[Claiming]) -> None:
        held = [(space, member.owner) for member in members for space in member.spaces]
        self._store.keep_all_claims(held, self._lease)


def give_back(store: Store, claiming: Claiming) -> None:
    """Give back what is still claimed: the tasks have gone back to the queue."""
    try:
        store.drop_claims(claiming.spaces, claiming.owner)
    except Unavailable as error:
        log.warning("%s: %s", ClaimKeeper.name, error)
