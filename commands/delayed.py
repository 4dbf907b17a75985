"""`fb delayed ls` and `fb delayed cancel`."""

from __future__ import annotations

from typing import Annotated

import typer

from fbcli.clock import SYSTEM
from fbcli.console.messages import amount, arguments
from fbcli.console.output import Output
from fbcli.errors import UsageError
from fbcli.queues.envelope import Envelope
from fbcli.queues.lookup import find_queue, nearby
from fbcli.queues.queue import Done
from fbcli.values.moments import due

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

app = new_app("""List and cancel messages that wait for their time.

    \b
      fb push mymod:task x=1 --delay 10m
      fb delayed ls mymod:task
      fb delayed cancel mymod:task 0198c0de-…

    Tasks that wait for a later retry are among them. Exit code 3: none of these tasks waits; 8:
    some only.
    """)
IN_HELP = "Queues", 9


@app.command("ls")
def list_(
    queue: QueueArgument,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", "-n", envvar="FB_LIMIT", metavar="N", min=1, help="How many at most."
        ),
    ] = 20,
    json: JsonFlag = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """List what waits for its time, the soonest first.

    \b
      fb delayed ls mymod:task
      fb delayed ls mymod.task --json | jq .due
    """
    out = Output(json=json)
    found = find_queue(queue, settings_of(context, broker, store))
    waiting = [(message, Envelope(message.body)) for message in found.delayed(limit)]
    if json:
        for message, envelope in waiting:
            out.object(
                {"task_id": envelope.task_id, "due": message.due, "arguments": envelope.arguments}
            )
        return
    now = SYSTEM.now()
    out.table(
        ("task_id", "due", "arguments"),
        [
            [envelope.task_id, due(message.due, now), arguments(envelope)]
            for message, envelope in waiting
        ],
        empty=(
            f"{found.name} has nothing that waits for its time.{nearby(found)}",
            f"fb push {queue} --delay 10m …",
        ),
    )
    size = found.size()
    if size is not None and size.delayed is not None and size.delayed > len(waiting):
        out.say(f"{len(waiting):,} of {amount(size.delayed)}; -n shows more.")


@app.command()
def cancel(
    queue: QueueArgument,
    task_ids: Annotated[
        list[str] | None, typer.Argument(metavar="TASK_ID", help="As `fb delayed ls` shows them.")
    ] = None,
    all: Annotated[
        bool,
        typer.Option("--all", "-a", envvar="FB_CANCEL_ALL", help="All that wait in this queue."),
    ] = False,
    yes: YesFlag = False,
    dry_run: DryRunFlag = False,
    no_input: NoInputFlag = False,
    json: JsonFlag = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """Remove messages before their time comes; they never run.

    \b
      fb delayed cancel mymod:task 0198c0de-…
      fb delayed cancel mymod:task --all --dry-run
    """
    out = Output(json=json)
    if bool(task_ids) == all:
        raise UsageError("Say which: name task ids, or --all.")
    found = find_queue(queue, settings_of(context, broker, store))
    count, done = len(found.find_delayed(task_ids)) if task_ids else found.count_delayed(), Done(0)
    if count == 0:
        out.empty(f"{found.name} has nothing that waits for its time.{nearby(found)}", "fb queues")
    elif dry_run:
        out.say(f"Would cancel {amount(count, 'delayed message')} of {found.name}.")
    else:
        out.confirm(
            f"Cancel {amount(count, 'delayed message')} of {found.name} for good?",
            yes=yes,
            no_input=no_input,
        )
        done = found.cancel_delayed(task_ids)
        count = done.count
        out.say(f"Cancelled {amount(count, 'delayed message')} of {found.name}.")
    if json:
        out.object({"queue": found.name, "cancelled": count, "dry_run": dry_run})
    done.check()
