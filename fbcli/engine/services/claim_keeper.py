"""Keeps the claims of a consumer in the store."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from fbcli.errors import Unavailable
from fbcli.stores.base import Store

log = logging.getLogger("fbcli.consumer")


class ClaimKeeper:
    """Keeps what the controls of a consumer have claimed in the store while its tasks run. A
    `Duty`."""

    name = "claims"

    def __init__(self, store: Store, spaces: Sequence[str], owner: str, lease: float) -> None:
        self._store = store
        self._spaces = tuple(spaces)
        self._owner = owner
        self._lease = lease

    def beat(self) -> None:
        self._store.keep_claims(self._spaces, self._owner, self._lease)

    def retire(self) -> None:
        """Give back what is still claimed: the tasks have gone back to the queue."""
        try:
            self._store.drop_claims(self._spaces, self._owner)
        except Unavailable as error:
            log.warning("%s: %s", self.name, error)
