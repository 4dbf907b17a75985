"""`fb call`."""

from __future__ import annotations

from typing import Annotated

import typer

from fbcli.arguments.shell import parse_pairs
from fbcli.console.output import Output
from fbcli.pushing.calling import call as call_and_wait

from ._flags.call import (
    ExpiresFlag,
    IdFlag,
    PriorityFlag,
    QueueFlag,
    RetriesFlag,
    TimeoutFlag,
    WordsArgument,
    given,
    target,
)
from ._flags.place import (
    BrokerFlag,
    ContextFlag,
    JsonFlag,
    StoreFlag,
    new_app,
    seconds_of,
    settings_of,
)

app = new_app()
IN_HELP = "Work", 2


@app.command(no_args_is_help=True)
def call(
    words: WordsArgument = None,
    wait: Annotated[
        str,
        typer.Option(
            "--wait",
            "-w",
            envvar="FB_CALL_WAIT",
            metavar="DURATION",
            help=(
                "Wait so long for the result: 5, 10m; forever. Exit code 7 then; the task goes on."
            ),
        ),
    ] = "60s",
    priority: PriorityFlag = None,
    timeout: TimeoutFlag = None,
    retries: RetriesFlag = None,
    expires: ExpiresFlag = None,
    id: IdFlag = None,
    json: JsonFlag = False,
    queue: QueueFlag = None,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """Push a call and wait for its result.

    \b
      fb call mymod:add x=1 y=2
      fb call mymod:report day=2026-11-21 --wait 10m
      fb call mymod:user id=7 --json | jq .name

    A consumer must be running: fb consume ADDRESS. Prints what the function
    returned, as JSON (a text as it is, unless --json). When it failed: its
    traceback on stderr, exit code 1.
    """
    out = Output(json=json)
    seconds = None if wait == "forever" else seconds_of(wait, "--wait")
    goal = target(words, queue, settings_of(context, broker, store))
    options = given(
        priority=priority, timeout=timeout, retries=retries, expires=expires, task_id=id
    )
    out.value(
        call_and_wait(
            goal.booster, parse_pairs(goal.tokens, goal.signature), wait=seconds, **options
        )
    )
