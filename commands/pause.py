"""`fb pause`."""

from __future__ import annotations

from typing import Annotated

import typer

from fbcli.console.output import Output
from fbcli.queues.lookup import find_queue, unknown
from fbcli.values.durations import span

from ._flags.place import (
    BrokerFlag,
    ContextFlag,
    JsonFlag,
    QueuesArgument,
    StoreFlag,
    new_app,
    seconds_of,
    settings_of,
)

app = new_app()
IN_HELP = "Queues", 4


@app.command()
def pause(
    queues: QueuesArgument,
    duration: Annotated[
        str | None,
        typer.Option(
            "--for",
            envvar="FB_FOR",
            metavar="DURATION",
            help="End the pause by itself after 90s, 10m, 1h30m.",
        ),
    ] = None,
    json: JsonFlag = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """Stop all consumers of a queue from taking more; what runs goes on.

    \b
      fb pause mymod:task
      fb pause mymod:task other.queue --for 10m

    Consumers learn of it within about a second, on all machines. Messages wait in the queue; `fb
    resume` ends the pause.
    """
    out = Output(json=json)
    seconds = None if duration is None else seconds_of(duration, "--for")
    settings = settings_of(context, broker, store)
    for queue in [find_queue(text, settings) for text in queues]:
        settings.store_for(queue.broker, "pause a queue").pause(queue.name, seconds)
        if json:
            out.object({"queue": queue.name, "paused": True, "resumes_in": seconds})
        else:
            end = "" if seconds is None else f" for {span(seconds)}"
            out.say(
                f"{queue.name} is paused{end}; `fb resume {queue.name}` ends that.{unknown(queue)}"
            )
