"""The queues of a context, found by name or by the address of a function."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from typing import Any

from fbcli.address.address import Address, load
from fbcli.address.outline import has_source, written_options
from fbcli.broker import DEAD_SUFFIX
from fbcli.errors import UsageError, did_you_mean
from fbcli.queues.queue import Queue
from fbcli.settings import Settings


def find_queue(text: str, settings: Settings, *, importing: bool = True) -> Queue:
    """Return the queue of this name, or that of the function at this address.

    What `@boost(…)` says of an address's queue and broker is read from its source; the function is
    imported only where that does not tell, and not without `importing`. A name with a colon that
    the broker knows, and no module fits, is taken for a name. Raises `UsageError`, and what
    importing raises.
    """
    if not text:
        raise UsageError("Name a queue, or the address of a function, like mymod:task.")
    if ":" not in text or _is_name(text, settings):
        return Queue(text, settings.open_broker(), settings.open_store)
    address = Address.parse(text, settings.root)
    decorated: Mapping[str, Any] | None = written_options(settings.root, address)
    if decorated is None and importing:
        decorated = _imported_options(address, settings)
    options = settings.options(address.text, decorated)
    return Queue(
        options.queue or address.queue, settings.open_broker(options.broker), settings.open_store
    )


def _imported_options(address: Address, settings: Settings) -> Mapping[str, Any]:
    """Return what `@boost` has left on the function, which is imported for that."""
    with contextlib.redirect_stdout(sys.stderr):  # what modules print then is nobody's data
        found = load(address, settings.root)
    return getattr(found, "decorated", {})


def _is_name(text: str, settings: Settings) -> bool:
    """Whether a text with a colon is the name of a queue that the broker knows, and leads to no
    module here."""
    try:
        if has_source(settings.root, Address.parse(text, settings.root)):
            return False
    except UsageError:
        pass  # no address anyway
    broker = settings.open_broker()
    return broker.capabilities.queues and text in broker.queues()


def nearby(queue: Queue) -> str:
    """Return `" Did you mean 'x'?"` when another queue of the same broker has nearly this name,
    else an empty text. Queues of one module have much of their names in common: there it is the
    function that must be alike."""
    if not queue.broker.capabilities.queues:
        return ""
    names = {name.removesuffix(DEAD_SUFFIX) for name in queue.broker.queues()} - {queue.name}
    module, dot, function = queue.name.rpartition(".")
    beside = module + dot
    likely = [
        name
        for name in names
        if not name.startswith(beside) or did_you_mean(function, [name.removeprefix(beside)])
    ]
    return did_you_mean(queue.name, sorted(likely))


def unknown(queue: Queue) -> str:
    """Return a hint as `nearby` does, but only when the queue itself holds nothing."""
    size = queue.size()
    return (
        nearby(queue)
        if size is not None and not (size.ready or size.in_flight or size.delayed)
        else ""
    )
