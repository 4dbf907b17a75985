"""The stores, and how one is found by its URL: by a table of those built in (URL scheme ->
"module:class" of its backend), those registered in this process, and the entry points of packages.
Imports none of them; each is imported when its URL is used."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from fbcli.clients.loading import mask
from fbcli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

    from fbcli.stores.base import Store
    from fbcli.stores.facets import Backend

SCHEMES = {
    "memory": "fbcli.stores.memory:MemoryBackend",
    "sqlite": "fbcli.stores.sqlite.backend:SqliteBackend",
    "redis": "fbcli.stores.redis.backend:RedisBackend",
    "rediss": "fbcli.stores.redis.backend:RedisBackend",
    "redis+list": "fbcli.stores.redis.backend:RedisBackend",
    "redis+sentinel": "fbcli.stores.redis.backend:RedisBackend",
    "redis+cluster": "fbcli.stores.redis.backend:RedisBackend",
}

_registered: dict[str, type[Backend]] = {}


def register_store(scheme: str, backend: type[Backend]) -> None:
    """Make `scheme://…` URLs reach `backend` in this process. Packages use the entry point group
    `fbcli.stores` instead."""
    _registered[scheme] = backend


def schemes() -> list[str]:
    """Return every URL scheme that a store answers to: built in, registered, or by entry point."""
    return sorted({*SCHEMES, *_registered, *(entry.name for entry in _entry_points())})


def find_backend(scheme: str) -> type[Backend]:
    """Return the backend class of a URL scheme, importing its module.

    Raises `UsageError` for an unknown scheme (with a did-you-mean).
    """
    if scheme in _registered:
        return _registered[scheme]
    if scheme in SCHEMES:
        module, _, name = SCHEMES[scheme].partition(":")
        found: type[Backend] = getattr(importlib.import_module(module), name)
        return found
    for entry in _entry_points(scheme):
        loaded: type[Backend] = entry.load()
        return loaded
    known = schemes()
    raise UsageError(
        f"No store answers to {scheme + '://'!r}.{did_you_mean(scheme, known)} Stores:"
        f" {', '.join(known)}."
    )


def open_store(url: str) -> Store:
    """Return a new store for `url`, not yet connected.

    Raises `UsageError` for an unknown scheme (with a did-you-mean) or a path that makes no sense.
    What else is wrong with a URL, and `MissingLibrary` when its client is not installed, comes with
    the first use.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise UsageError(
            f"{mask(url)!r} is not a store URL; write it like sqlite:///store.db or"
            " redis://127.0.0.1:6379/0"
        )
    backend = find_backend(scheme)(url)
    # msgspec: not for whoever only looks at the table
    from fbcli.stores.base import Store  # noqa: PLC0415

    return Store(backend)


def store_beside(broker_url: str, folder: Path) -> str:
    """Return the URL of the store that goes with a broker when none is named: the broker's own
    place where a store answers to its scheme, else an SQLite file in `folder`.

    Note: the queue and the store of SQLite are two files. Each has one writer at a time, and what
    is written to the one wakes nobody who waits at the other.
    """
    scheme = broker_url.partition("://")[0]
    if scheme == "sqlite":
        stem, dot, suffix = broker_url.rpartition(".")
        return f"{stem}.store.{suffix}" if dot and "/" not in suffix else f"{broker_url}.store"
    if scheme in SCHEMES or scheme in _registered:
        return broker_url
    return f"sqlite:///{folder / 'store.db'}"


def _entry_points(name: str | None = None) -> EntryPoints:
    # 30 ms that a built-in store does not need
    from importlib.metadata import entry_points  # noqa: PLC0415

    found = entry_points(group="fbcli.stores")
    return found if name is None else found.select(name=name)
