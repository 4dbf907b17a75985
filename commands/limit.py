"""`fb limit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from fbcli.console.limits import COLUMNS, cells, described, plain
from fbcli.console.output import Output
from fbcli.errors import UsageError, did_you_mean
from fbcli.monitoring.limits import limited
from fbcli.queues.limits import change
from fbcli.queues.lookup import find_queue, unknown
from fbcli.queues.queue import Queue
from fbcli.settings import Settings

from ._flags.options import given as checked_flags
from ._flags.place import (
    QUEUE_HELP,
    BrokerFlag,
    ContextFlag,
    JsonFlag,
    StoreFlag,
    new_app,
    settings_of,
)

app = new_app()
IN_HELP = "Queues", 6


@app.command()
def limit(
    queues: Annotated[
        list[str] | None,
        typer.Argument(metavar="QUEUE", help=f"{QUEUE_HELP} Without any: all limits."),
    ] = None,
    qps: Annotated[
        str | None,
        typer.Option(
            "--qps",
            envvar="FB_LIMIT_QPS",
            metavar="NUMBER",
            help="Starts a second: 3, 0.1; none: no limit.",
        ),
    ] = None,
    qps_scope: Annotated[
        str | None,
        typer.Option(
            "--qps-scope",
            envvar="FB_LIMIT_QPS_SCOPE",
            metavar="process|cluster",
            help="Whether that holds for each process, or for all processes and hosts together.",
        ),
    ] = None,
    concurrency: Annotated[
        str | None,
        typer.Option(
            "--concurrency",
            envvar="FB_LIMIT_CONCURRENCY",
            metavar="N",
            help="Most calls at once in each process; auto: they find their own level.",
        ),
    ] = None,
    reset: Annotated[
        bool,
        typer.Option(
            "--reset", envvar="FB_LIMIT_RESET", help="Back to what the consumers were started with."
        ),
    ] = False,
    json: JsonFlag = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """Change rate and concurrency of live consumers, or show what is in force.

    \b
      fb limit mymod:task --qps 3 --qps-scope cluster
      fb limit mymod:task other.queue --concurrency 20
      fb limit mymod:task --qps none
      fb limit mymod:task
      fb limit mymod:task --reset

    Live consumers take it up within 2 seconds, on all machines; those that start later, too. Only
    what is given changes; what was set before stays.
    """
    out = Output(json=json)
    changes = _changes(qps=qps, qps_scope=qps_scope, concurrency=concurrency)
    if reset and changes:
        raise UsageError("--reset ends all limits; it goes with no other.")
    if not queues and (reset or changes):
        raise UsageError("Name a queue, or the address of a function, like mymod:task.")
    settings = settings_of(context, broker, store)
    found = [find_queue(text, settings) for text in queues or ()]
    if changes:
        _set(out, settings, found, changes)
    elif reset:
        _reset(out, settings, found)
    rows = (
        limited(settings.open_store(), [queue.name for queue in found])
        if json or not (changes or reset)
        else []
    )
    if json:
        for row in rows:
            out.object(plain(row))
    elif not (changes or reset):
        empty = ("No queue has limits.", "fb limit mymod:task --qps 5")
        out.table(COLUMNS, [cells(row) for row in rows], empty=empty)


def _set(out: Output, settings: Settings, queues: Sequence[Queue], changes: dict[str, Any]) -> None:
    for queue in queues:
        store = settings.store_for(queue.broker, "limit a queue")
        limits = change(store, queue.name, changes)
        if out.json:
            continue
        consumers = limited(store, [queue.name])[0].consumers
        when = (
            "Live consumers take it up within 2 s"
            if consumers
            else "It has no consumer now; it holds for those that start"
        )
        out.say(
            f"{queue.name}: {described(limits)}. {when}; `fb limit {queue.name} --reset` ends"
            f" that.{unknown(queue)}"
        )


def _reset(out: Output, settings: Settings, queues: Sequence[Queue]) -> None:
    for queue in queues:
        store = settings.store_for(queue.broker, "limit a queue")
        had = store.unlimit(queue.name)
        if out.json:
            continue
        if had:
            out.say(f"{queue.name} goes back to what its consumers were started with.")
        else:
            out.say(f"{queue.name} had no limits.{did_you_mean(queue.name, store.limits())}")


def _changes(**given: str | None) -> dict[str, Any]:
    """Return what was given, checked as the options of the same names. Raises `BadSetting`."""
    words = {name: value for name, value in given.items() if value is not None}
    unlimited = words.get("qps", "").lower() in ("none", "0")
    if unlimited:
        del words["qps"]
    changes = checked_flags(words)
    return {**changes, "qps": 0.0} if unlimited else changes
