"""`fb peek`."""

from __future__ import annotations

from typing import Annotated

import typer

from fbcli.clock import SYSTEM
from fbcli.console.messages import arguments, options
from fbcli.console.output import Output
from fbcli.queues.lookup import find_queue, nearby
from fbcli.values.moments import ago

from ._flags.place import (
    BrokerFlag,
    ContextFlag,
    JsonFlag,
    QueueArgument,
    StoreFlag,
    new_app,
    settings_of,
)

app = new_app()
IN_HELP = "Queues", 2


@app.command()
def peek(
    queue: QueueArgument,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", "-n", envvar="FB_LIMIT", metavar="N", min=1, help="How many at most."
        ),
    ] = 10,
    json: JsonFlag = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """Show the next messages of a queue without taking them.

    \b
      fb peek mymod:task
      fb peek mymod.task -n 1 --json | jq .extra

    With --json it prints the messages themselves, one a line, in the order of delivery.
    """
    out = Output(json=json)
    found = find_queue(queue, settings_of(context, broker, store))
    messages = found.peek(limit)
    if json:
        for message in messages:
            out.object(message.json)
        return
    now = SYSTEM.now()
    out.table(
        ("task_id", "published", "arguments", "options"),
        [
            [each.task_id, ago(each.published, now), arguments(each), options(each)]
            for each in messages
        ],
        empty=(f"{found.name} has nothing ready.{nearby(found)}", "fb queues"),
    )
