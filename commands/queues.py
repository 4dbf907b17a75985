"""`fb queues`."""

from __future__ import annotations

from typing import Annotated

import typer

from fbcli.clock import SYSTEM
from fbcli.console.output import Output
from fbcli.monitoring.overview import Overview, overview
from fbcli.values.durations import span

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
IN_HELP = "Queues", 1

COLUMNS = (
    *("queue", "ready", "in_flight", "delayed", "dead", "consumers", "per_second"),
    *("paused", "held_by"),
)


@app.command()
def queues(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="QUEUE", help=f"{QUEUE_HELP} Default: all.")
    ] = None,
    all: Annotated[
        bool,
        typer.Option(
            "--all",
            "-a",
            envvar="FB_QUEUES_ALL",
            help="Those of [tasks] in fb.toml, too, also when they are empty.",
        ),
    ] = False,
    json: JsonFlag = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """List queues and how much they hold.

    \b
      fb queues
      fb queues mymod:task other.queue
      fb queues --json | jq -r 'select(.dead > 0) | .queue'

    A queue is listed while it holds something, is paused, or has a consumer; its dead letters count
    in its own row. Held by: which control keeps its consumers from running what they have, and
    since when; `fb show TASK_ID` tells of a single task.
    """
    out = Output(json=json)
    rows = overview(settings_of(context, broker, store), names or (), configured=all)
    if json:
        for row in rows:
            out.object(row)
    else:
        empty = ("No queue holds anything.", "fb push mymod:task x=1", "fb consume mymod:task")
        out.table(COLUMNS, [_cells(row) for row in rows], empty=empty)


def _cells(row: Overview) -> list[str | int | None]:
    counts = [row.ready, row.in_flight, row.delayed, row.dead, row.consumers]
    return [row.queue, *counts, f"{row.per_second:,.4g}", _pause(row), _held(row)]


def _pause(row: Overview) -> str:
    if not row.paused:
        return "no"
    return "yes" if row.resumes_in is None else f"for {span(row.resumes_in)}"


def _held(row: Overview) -> str:
    """Pauses have a column of their own."""
    now = SYSTEM.now()
    holds = (hold for hold in row.held if hold.by != "pause")
    return ", ".join(f"{hold.by} for {span(now - hold.since)}" for hold in holds)
