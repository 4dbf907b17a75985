"""The settings of a process, and the options of one function under them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fbcli.broker import Broker
from fbcli.clients.files import absolute
from fbcli.clients.loading import mask
from fbcli.errors import Unsupported
from fbcli.options.checking import checked
from fbcli.settings.connections import Connections
from fbcli.settings.files import FILE

if TYPE_CHECKING:
    from fbcli.options.model import Options
    from fbcli.stores.base import Store
    from fbcli.values.declaration import Option

BESIDE = "beside the broker"
"""Where a store comes from that nobody has chosen."""

REACHES = ("process", "host", "network")
"""Who can share a queue or a store, from few to all."""

OF_NO_VARIABLE = ("broker", "queue")
"""Options that no `FB_…` variable sets for all functions: `FB_BROKER` is the context's broker."""


class Origin(NamedTuple):
    """A setting's value and where it came from."""

    value: Any
    source: str


@dataclass(frozen=True, repr=False)
class Settings:
    """All settings of a process, resolved once."""

    root: Path
    """The project's folder: the nearest one upward with a settings file, else the working
    directory."""
    file: Path | None
    context: str | None
    context_source: str
    broker: Origin
    store: Origin
    defaults: Mapping[str, Origin] = field(default_factory=dict)
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    contexts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Note: no more, since URLs and variables hold secrets."""
        return f"<Settings of {self.root}: {mask(self.broker_url)}>"

    @property
    def broker_url(self) -> str:
        """URL of the broker of this context."""
        return str(self.broker.value)

    @property
    def store_url(self) -> str:
        """URL of the store of this context."""
        return str(self.store.value)

    # options of one function

    def origins(
        self,
        address: str | None,
        decorated: Mapping[str, Any] | None = None,
        flags: Mapping[str, Any] | None = None,
        *,
        known: Mapping[str, Option] | None = None,
    ) -> dict[str, Origin]:
        """Return every option for one function, with where its value came from. Values are as
        written, not yet checked. `known`: of these options only."""
        options = _all_options() if known is None else known
        file = self.file.name if self.file else FILE
        variables = {name: f"FB_{name.upper()}" for name in options if name not in OF_NO_VARIABLE}
        layers: list[Mapping[str, Origin]] = [
            {name: Origin(option.default, "built-in") for name, option in options.items()},
            self.defaults,
            _from(f'{file} [tasks."{address}"]', self.tasks.get(address or "", {})),
            _from("@boost", decorated or {}),
            {
                name: Origin(self.env[variable], variable)
                for name, variable in variables.items()
                if variable in self.env
            },
            _from("flag", flags or {}),
        ]
        found = {name: origin for layer in layers for name, origin in layer.items()}
        return found if known is None else {name: found[name] for name in known}

    def values(
        self,
        address: str | None,
        decorated: Mapping[str, Any] | None = None,
        flags: Mapping[str, Any] | None = None,
        *,
        known: Mapping[str, Option] | None = None,
    ) -> dict[str, Any]:
        """Return the checked options of one function by their names (`known`: these only); raises
        `BadSetting` that says where the wrong value came from."""
        found = self.origins(address, decorated, flags, known=known)
        return checked(
            {name: origin.value for name, origin in found.items()},
            _all_options() if known is None else known,
            lambda name: found[name].source,
        )

    def options(
        self,
        address: str | None,
        decorated: Mapping[str, Any] | None = None,
        flags: Mapping[str, Any] | None = None,
    ) -> Options:
        """Return the checked options of one function; raises `BadSetting` that says where the wrong
        value came from."""
        # pydantic, which most commands do not need
        from fbcli.options.model import Options  # noqa: PLC0415

        return Options(**self.values(address, decorated, flags))

    # connections

    @cached_property
    def _connections(self) -> Connections:
        return Connections(self.root, self.store_for)

    def open_broker(self, url: str | None = None) -> Broker:
        """Return the broker of `url` (None: of this context), one per process and URL."""
        return self._connections.broker(self.broker_url if url is None else self.meant(url))

    def meant(self, url: str) -> str:
        """Return a URL of an option as it is meant: from the project's folder."""
        return absolute(url, self.root)

    def open_store(self) -> Store:
        """Return the store of this context, one per process."""
        return self._connections.store(self.store_url)

    def store_for(self, broker: Broker, what: str) -> Store:
        """Return the store of this context for something that all who share `broker` must find
        there. Raises `Unsupported` where it reaches less far than the broker, and nobody has chosen
        it: `what` could not be done then ("delay messages")."""
        store = self.open_store()
        reach = broker.capabilities.reach
        if self.store.source == BESIDE and REACHES.index(store.reach) < REACHES.index(reach):
            raise Unsupported(
                f"{broker.scheme}:// cannot {what} without a store that is shared as far as its"
                f" queues are, by a {reach}; {mask(store.url)} is not. Name one: store ="
                ' "redis://…" in fb.toml, FB_STORE or --store (the same file, too, if all are on'
                " one host)."
            )
        return store

    def close(self) -> None:
        """Close the brokers and stores that were opened here. The next use opens them anew."""
        self._connections.close()


def _from(source: str, values: Mapping[str, Any]) -> dict[str, Origin]:
    return {name: Origin(value, source) for name, value in values.items()}


def _all_options() -> Mapping[str, Option]:
    from fbcli.options.gathered import OPTIONS  # noqa: PLC0415  all the controls

    return OPTIONS
