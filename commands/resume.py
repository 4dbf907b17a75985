"""`fb resume`."""

from __future__ import annotations

from fbcli.console.output import Output
from fbcli.errors import did_you_mean
from fbcli.queues.lookup import find_queue

from ._flags.place import (
    BrokerFlag,
    ContextFlag,
    JsonFlag,
    QueuesArgument,
    StoreFlag,
    new_app,
    settings_of,
)

app = new_app()
IN_HELP = "Queues", 5


@app.command()
def resume(
    queues: QueuesArgument,
    json: JsonFlag = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """End a pause: the consumers of a queue go on.

    \b
      fb resume mymod:task
      fb resume mymod.task other.queue
    """
    out = Output(json=json)
    settings = settings_of(context, broker, store)
    for queue in [find_queue(text, settings) for text in queues]:
        shared = settings.store_for(queue.broker, "pause a queue")
        was_paused = shared.resume(queue.name)
        if json:
            out.object({"queue": queue.name, "paused": False, "was_paused": was_paused})
        elif was_paused:
            out.say(f"{queue.name} goes on.")
        else:
            out.say(f"{queue.name} was not paused.{did_you_mean(queue.name, shared.pauses())}")
