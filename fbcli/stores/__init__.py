"""The stores: URL scheme -> "module:class". Imports none of them; each is imported when its URL is
used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fbcli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from fbcli.stores.base import Store

SCHEMES = {
    "sqlite": "fbcli.stores.sqlite.store:SqliteStore",
    "redis": "fbcli.stores.redis.store:RedisStore",
    "rediss": "fbcli.stores.redis.store:RedisStore",
    "redis+list": "fbcli.stores.redis.store:RedisStore",
    "redis+sentinel": "fbcli.stores.redis.store:RedisStore",
    "redis+cluster": "fbcli.stores.redis.store:RedisStore",
}


def open_store(url: str) -> Store:
    """Return a new store for `url`, not yet connected.

    Raises `UsageError` for an unknown scheme (with a did-you-mean) or a path that makes no sense.
    What else is wrong with a URL, and `MissingLibrary` when its client is not installed, comes with
    the first use.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise UsageError(
            f"{url!r} is not a store URL; write it like sqlite:///store.db or"
            " redis://127.0.0.1:6379/0"
        )
    if scheme not in SCHEMES:
        known = ", ".join(sorted(SCHEMES))
        raise UsageError(
            f"No store answers to {scheme + '://'!r}.{did_you_mean(scheme, SCHEMES)} Stores:"
            f" {known}."
        )
    module, _, name = SCHEMES[scheme].partition(":")
    store: type[Store] = getattr(importlib.import_module(module), name)
    return store(url)
