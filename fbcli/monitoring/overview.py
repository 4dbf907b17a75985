"""All queues of a context at a glance, and what keeps them from being worked on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from fbcli.broker import DEAD_SUFFIX
from fbcli.errors import Unsupported
from fbcli.queues.lookup import find_queue, nearby
from fbcli.queues.queue import Queue
from fbcli.settings import Settings
from fbcli.stores.base import ConsumerRecord
from fbcli.stores.records import Hold


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
    per_second: float = 0.0
    """Tasks that these have carried out a second, lately."""
    held: list[Hold] = []
    """What keeps them from running what they have in hand, or from taking anything; of each
    control the longest, with the tasks of all of them counted."""


def obstacles(queues: Sequence[Queue]) -> list[str]:
    """Return a sentence for each thing that keeps these queues from being worked on, or that looks
    like a slip."""
    store = queues[0].open_store()
    pauses = store.pauses()
    records = store.consumers()
    consumed = {record.queue for record in records}
    sentences = []
    for queue in queues:
        size = queue.size()
        if queue.name in pauses:
            sentences.append(f"{queue.name} is paused; `fb resume {queue.name}` ends that.")
        elif size is not None and size.ready and queue.name not in consumed:
            sentences.append(f"{queue.name} has no consumer; `fb consume ADDRESS` starts one.")
        elif size is not None and not (size.ready or size.in_flight or size.delayed):
            sentences += [f"{queue.name} holds nothing.{hint}" for hint in [nearby(queue)] if hint]
        else:
            held = held_in([record for record in records if record.queue == queue.name])
            sentences += [f"{queue.name} is held up by {hold.told()}." for hold in held]
    return sentences


def held_in(records: Iterable[ConsumerRecord]) -> list[Hold]:
    """Return what holds up the work of these consumers: of each control what has lasted longest,
    with the tasks of all of them counted."""
    found: dict[str, Hold] = {}
    for hold in sorted((hold for each in records for hold in each.holds), key=lambda h: h.since):
        if hold.by in found:
            found[hold.by].count += hold.count
        else:
            found[hold.by] = msgspec.structs.replace(hold, tasks=[])
    return list(found.values())


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
            raise Unsupported(
                f"{broker.scheme}:// cannot list its queues. Name them: fb queues QUEUE…"
            )
        found = {name.removesuffix(DEAD_SUFFIX) for name in broker.queues()}
        store = settings.open_store()
        found.update(store.pauses(), (record.queue for record in store.consumers()))
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
    consumers: dict[str, list[ConsumerRecord]] = {}
    for record in store.consumers():
        consumers.setdefault(record.queue, []).append(record)
    rows = []
    for queue in sorted(
        {queue.name: queue for queue in queues}.values(), key=lambda queue: queue.name
    ):
        size, dead, records = queue.size(), queue.dead.size(), consumers.get(queue.name, ())
        rows.append(
            Overview(
                queue=queue.name,
                ready=size.ready if size else None,
                in_flight=size.in_flight if size else None,
                delayed=size.delayed if size else None,
                dead=dead.ready if dead else None,
                paused=queue.name in pauses,
                resumes_in=pauses.get(queue.name),
                consumers=len(records),
                per_second=round(sum(record.per_second for record in records), 2),
                held=held_in(records),
            )
        )
    return rows
