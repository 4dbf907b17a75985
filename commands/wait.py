"""`fb wait`."""

from __future__ import annotations

from typing import Annotated

import typer

from fbcli.clock import SYSTEM
from fbcli.console.messages import amount
from fbcli.console.output import Output
from fbcli.console.status import Status
from fbcli.errors import TimedOut
from fbcli.monitoring.overview import obstacles
from fbcli.queues.drain import Backlog, Drain
from fbcli.queues.lookup import find_queue
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
IN_HELP = "Queues", 7


@app.command()
def wait(
    queues: QueuesArgument,
    timeout: Annotated[
        str | None,
        typer.Option(
            "--timeout",
            "-t",
            envvar="FB_WAIT_TIMEOUT",
            metavar="DURATION",
            help="Wait 90s, 5m, … at most.",
        ),
    ] = None,
    delayed: Annotated[
        bool,
        typer.Option(
            "--delayed",
            envvar="FB_DELAYED",
            help="Wait for delayed messages and later retries, too.",
        ),
    ] = False,
    json: JsonFlag = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """Wait until queues are empty and nothing of them is running.

    \b
      fb wait mymod:task
      fb wait mymod:task other.queue --timeout 5m
      fb wait mymod:task --delayed && echo done

    It runs nothing itself: consumers do, elsewhere. Failed tasks are done, too; `fb dead ls` shows
    them. Exit code 7: timed out.
    """
    out = Output(json=json)
    limit = None if timeout is None else seconds_of(timeout, "--timeout")
    settings = settings_of(context, broker, store)
    lines = list(
        {queue.name: queue for queue in (find_queue(text, settings) for text in queues)}.values()
    )
    begun = SYSTEM.monotonic()
    with Status(out) as status:
        for sentence in obstacles(lines):
            out.say(sentence)
        drained, backlog = Drain(lines, SYSTEM, delayed=delayed).wait(
            limit, lambda reading: status.show(_line(reading))
        )
    seconds = SYSTEM.monotonic() - begun
    names = ", ".join(queue.name for queue in lines)
    if json:
        counts = {
            "ready": backlog.ready,
            "in_flight": backlog.in_flight,
            "delayed": backlog.delayed,
        }
        out.object(
            {
                "queues": [queue.name for queue in lines],
                "drained": drained,
                **counts,
                "seconds": round(seconds, 3),
            }
        )
    if not drained:
        raise TimedOut(f"{names}: after {span(seconds)} there are still {_counts(backlog)}.")
    rest = (
        f" {amount(backlog.delayed, 'delayed message')} left; --delayed waits for them, too."
        if backlog.delayed
        else ""
    )
    if not json:
        out.say(f"{names}: drained after {span(seconds)}.{rest}")


def _counts(backlog: Backlog) -> str:
    return f"{backlog.ready:,} ready, {backlog.in_flight:,} in flight, {backlog.delayed:,} delayed"


def _line(backlog: Backlog) -> str:
    line = f"waiting: {_counts(backlog)}"
    if backlog.seconds_left is None:
        return line
    return f"{line} · {backlog.rate:,.1f} fewer a second · about {span(backlog.seconds_left)} to go"
