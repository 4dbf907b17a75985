"""The queues of a context: found by name or by the address of a function, and all of them at a
glance."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from fbcli.address.address import Address, load
from fbcli.address.outline import has_source, written_options
from fbcli.broker import DEAD_SUFFIX
from fbcli.errors import Unsupported, UsageError, did_you_mean
from fbcli.queues.queue import Queue
from fbcli.settings import Settings


class Overview(msgspec.Struct):
    """What is known of one queue. None: this broker cannot tell."""

    queue: str
    ready: int | None
    in_flight: int | None
    delayed: int | None
    dead: int | None
    paused: bool = False
    resumes_in: float | None = None
    """Seconds left of a pause that ends by itself."""
    consumers: int = 0


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


def obstacles(queues: Sequence[Queue]) -> list[str]:
    """Return a sentence for each thing that keeps these queues from being worked on, or that looks
    like a slip."""
    store = queues[0].open_store()
    pauses = store.pauses()
    consumed = {name for worker in store.workers() for name in worker.queues}
    sentences = []
    for queue in queues:
        size = queue.size()
        if queue.name in pauses:
            sentences.append(f"{queue.name} is paused; `fb resume {queue.name}` ends that.")
        elif size is not None and size.ready and queue.name not in consumed:
            sentences.append(f"{queue.name} has no consumer; `fb consume ADDRESS` starts one.")
        elif size is not None and not (size.ready or size.in_flight or size.delayed):
            sentences += [f"{queue.name} holds nothing.{hint}" for hint in [nearby(queue)] if hint]
    return sentences


def overview(
    settings: Settings, names: Iterable[str] = (), *, configured: bool = False
) -> list[Overview]:
    """Return what is known of these queues (names or addresses), or (none given) of all that hold
    something, are paused, or have a consumer; `configured`: of those of `[tasks]` in fb.toml, too.

    Raises `Unsupported` when none is given and the broker cannot list its queues.
    """
    chosen = [find_queue(name, settings) for name in names]
    if not chosen:
        broker = settings.open_broker()
        if not broker.capabilities.queues:
            scheme = broker.url.partition("://")[0]
            raise Unsupported(f"{scheme}:// cannot list its queues. Name them: fb queues QUEUE…")
        found = {name.removesuffix(DEAD_SUFFIX) for name in broker.queues()}
        store = settings.open_store()
        found.update(store.pauses(), *(worker.queues for worker in store.workers()))
        if not broker.capabilities.delay:
            found.update(store.parked_queues(broker.url.partition("://")[0]))
        chosen = [Queue(name, broker, settings.open_store) for name in found]
        if configured:
            chosen += [
                queue
                for task in settings.tasks
                if (queue := find_queue(task, settings)).name not in found
            ]
    return _look(chosen, settings)


def _look(queues: Iterable[Queue], settings: Settings) -> list[Overview]:
    store = settings.open_store()
    pauses = store.pauses()
    consumed = [name for worker in store.workers() for name in worker.queues]
    rows = []
    for queue in sorted(
        {queue.name: queue for queue in queues}.values(), key=lambda queue: queue.name
    ):
        size, dead = queue.size(), queue.dead.size()
        rows.append(
            Overview(
                queue=queue.name,
                ready=size.ready if size else None,
                in_flight=size.in_flight if size else None,
                delayed=size.delayed if size else None,
                dead=dead.ready if dead else None,
                paused=queue.name in pauses,
                resumes_in=pauses.get(queue.name),
                consumers=consumed.count(queue.name),
            )
        )
    return rows
