"""What brokers there are and what each can do, read from their code; for `fb brokers` and the
documentation."""

from __future__ import annotations

import importlib.util

import msgspec

from fbcli.broker import Broker, Capabilities
from fbcli.broker_registry import find_broker, schemes
from fbcli.errors import FbError


class BrokerEntry(msgspec.Struct):
    """One broker. Where it cannot be imported, `problem` says why, and what is known only from its
    code is None."""

    schemes: list[str]
    """The URL schemes that it answers to."""
    summary: str | None = None
    installed: bool = True
    """Whether it can be used here: its client library is there."""
    install: str | None = None
    """What to type to install the library; None: it needs none."""
    problem: str | None = None
    capabilities: Capabilities | None = None


def catalogue() -> list[BrokerEntry]:
    """Return every broker: built in, registered, or by entry point. Connects to nothing."""
    entries: dict[str, BrokerEntry] = {}
    for scheme in schemes():
        try:
            broker = find_broker(scheme)
        except FbError as error:
            key, entry = str(error), BrokerEntry([], installed=False, problem=str(error))
        except Exception as error:  # noqa: BLE001  a broker of a third party that is broken must not hide the others
            key, entry = (
                scheme,
                BrokerEntry([], installed=False, problem=f"{type(error).__name__}: {error}"),
            )
        else:
            key, entry = f"{broker.__module__}:{broker.__qualname__}", _entry(broker)
        entries.setdefault(key, entry).schemes.append(scheme)
    for entry in entries.values():
        entry.schemes.sort(key=len)
    return sorted(entries.values(), key=lambda entry: entry.schemes)


def _entry(broker: type[Broker]) -> BrokerEntry:
    if broker.library is None:
        return BrokerEntry([], broker.summary, capabilities=broker.capabilities)
    module, extra = broker.library
    return BrokerEntry(
        [],
        broker.summary,
        installed=importlib.util.find_spec(module) is not None,
        install=f"pip install 'fbcli[{extra}]'",
        capabilities=broker.capabilities,
    )
