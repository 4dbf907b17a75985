"""The open brokers and stores of a process, and the folder of the embedded default."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fbcli.broker import Broker
from fbcli.broker_registry import open_broker
from fbcli.emulation import emulated
from fbcli.errors import UsageError
from fbcli.platform.forks import PerProcess
from fbcli.stores import open_store

if TYPE_CHECKING:
    from fbcli.stores.base import Store

T = TypeVar("T")

FOLDER = ".fb"
"""Folder of the embedded default below the project's root; it holds the queues, and ignores itself
in git."""

EMBEDDED = "sqlite:///{folder}/queue.db"
"""The broker where none is set: it needs no server."""

StoreFor = Callable[[Broker, str], "Store"]


class Connections:
    """One broker and one store for each URL. Not shared with a forked child: it opens its own."""

    def __init__(self, root: Path, store_for: StoreFor) -> None:
        """`store_for`: returns the store in which what a poorer broker lacks is kept."""
        self._folder = root / FOLDER
        self._store_for = store_for
        self._brokers: dict[str, PerProcess[Broker]] = {}
        self._stores: dict[str, PerProcess[Store]] = {}

    def broker(self, url: str) -> Broker:
        """Return the open broker of a URL."""
        owned = self._brokers.setdefault(url, PerProcess())
        return owned.get(lambda: self._make(self._open_broker, url))

    def _open_broker(self, url: str) -> Broker:
        broker = open_broker(url)
        return emulated(broker, partial(self._store_for, broker))

    def store(self, url: str) -> Store:
        """Return the open store of a URL."""
        owned = self._stores.setdefault(url, PerProcess())
        return owned.get(lambda: self._make(open_store, url))

    def close(self) -> None:
        """Close all that this process has opened."""
        owned: list[PerProcess[Any]] = [*self._brokers.values(), *self._stores.values()]
        for each in owned:
            opened = each.take()
            if opened is not None:
                opened.close()

    def _make(self, make: Callable[[str], T], url: str) -> T:
        if url.partition(":///")[2].startswith(f"{self._folder}/"):
            self._make_folder()
        return make(url)

    def _make_folder(self) -> None:
        """Make the folder of the embedded default, which git shall ignore."""
        folder = self._folder
        if folder.exists():
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".gitignore").write_text("*\n", encoding="utf-8")
        except OSError as error:
            elsewhere = EMBEDDED.format(folder="/path")
            raise UsageError(
                f"Cannot make the folder {folder} for the embedded queue: {error.strerror}. "
                f"Give another place by --broker {elsewhere} or FB_BROKER."
            ) from None
