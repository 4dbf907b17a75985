"""How a broker is found by its URL: by a table of those built in, those registered in this process,
and the entry points of packages. Its module is imported when its URL is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fbcli.broker import Broker
from fbcli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints


def register_broker(scheme: str, broker: type[Broker]) -> None:
    """Make `scheme://…` URLs reach `broker` in this process. Packages use the entry point group
    `fbcli.brokers` instead."""
    _registered[scheme] = broker


_registered: dict[str, type[Broker]] = {}


def schemes() -> list[str]:
    """Return every URL scheme that a broker answers to: built in, registered, or by entry point."""
    return sorted({*_table(), *_registered, *(entry.name for entry in _entry_points())})


def find_broker(scheme: str) -> type[Broker]:
    """Return the broker class of a URL scheme, importing its module and client library.

    Raises `UsageError` for an unknown scheme (with a did-you-mean), `MissingLibrary` when its
    client is not installed.
    """
    if scheme in _registered:
        return _registered[scheme]
    if scheme in _table():
        module, _, name = _table()[scheme].partition(":")
        found: type[Broker] = getattr(importlib.import_module(module), name)
        return found
    for entry in _entry_points(scheme):
        loaded: type[Broker] = entry.load()
        return loaded
    raise UsageError(
        f"No broker answers to {scheme + '://'!r}.{did_you_mean(scheme, schemes())} `fb brokers`"
        " lists those that do."
    )


def open_broker(url: str) -> Broker:
    """Return a new broker for `url`. Raises as `find_broker` does, and `UsageError` for a URL that
    makes no sense to it."""
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise UsageError(
            f"{url!r} is not a broker URL; write it like sqlite:///queue.db or"
            " redis://127.0.0.1:6379/0"
        )
    return find_broker(scheme)(url)


def _entry_points(name: str | None = None) -> EntryPoints:
    # 30 ms that a built-in broker does not need
    from importlib.metadata import entry_points  # noqa: PLC0415

    found = entry_points(group="fbcli.brokers")
    return found if name is None else found.select(name=name)


def _table() -> dict[str, str]:
    table: dict[str, str] = importlib.import_module("fbcli.brokers").SCHEMES
    return table
