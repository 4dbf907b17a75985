"""`fb clear`."""

from __future__ import annotations

from fbcli.console.messages import amount
from fbcli.console.output import Output
from fbcli.queues.lookup import find_queue, nearby

from ._flags.place import (
    BrokerFlag,
    ContextFlag,
    DryRunFlag,
    JsonFlag,
    NoInputFlag,
    QueueArgument,
    StoreFlag,
    YesFlag,
    new_app,
    settings_of,
)

app = new_app()
IN_HELP = "Queues", 3


@app.command()
def clear(
    queue: QueueArgument,
    yes: YesFlag = False,
    dry_run: DryRunFlag = False,
    no_input: NoInputFlag = False,
    json: JsonFlag = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """Remove all messages of a queue, ready and delayed.

    \b
      fb clear mymod:task
      fb clear mymod.task --dry-run
      fb clear mymod.task -y

    What consumers hold stays theirs. Dead letters stay; `fb dead clear` removes them.
    """
    out = Output(json=json)
    found = find_queue(queue, settings_of(context, broker, store))
    found.require("purge", "clear a queue")
    size = found.size()
    count = None if size is None else size.ready + (size.delayed or 0)
    if count == 0:
        out.empty(f"{found.name} is empty.{nearby(found)}", "fb queues")
    elif dry_run:
        out.say(f"Would remove {amount(count)} of {found.name}.")
    else:
        out.confirm(f"Remove {amount(count)} of {found.name}?", yes=yes, no_input=no_input)
        count = found.clear()
        out.say(f"Removed {amount(count)} of {found.name}.")
    if json:
        out.object({"queue": found.name, "removed": count, "dry_run": dry_run})
