"""`fb cancel`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from fbcli.console.output import Output, visible
from fbcli.errors import FbError, PartlyDone, UsageError
from fbcli.results.cancelling import Outcome
from fbcli.results.cancelling import cancel as cancel_tasks

from ._flags.place import BrokerFlag, ContextFlag, JsonFlag, StoreFlag, new_app, settings_of

app = new_app()
IN_HELP = "Tasks", 3

WAIT = 3.0
"""Seconds: a consumer asks once a second, and reports as often."""

SAID = {
    "asked": "is asked to be cancelled",
    "will_not_start": "will not start",
    "interrupted": "cancelled while running",
    "still_running": "is still running; it ends as soon as it can be interrupted",
}


@app.command(no_args_is_help=True)
def cancel(
    task_ids: Annotated[
        list[str],
        typer.Argument(
            metavar="TASK_ID", help="As `fb push` prints it; -: ids from stdin, one a line."
        ),
    ],
    no_wait: Annotated[
        bool,
        typer.Option(
            "--no-wait", envvar="FB_CANCEL_NO_WAIT", help="Do not find out what became of them."
        ),
    ] = False,
    json: JsonFlag = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """Cancel tasks: queued ones never start, running ones are interrupted.

    \b
      fb cancel 0198c0de-…
      fb peek mymod:task -n 1000 --json | jq -r .extra.task_id | fb cancel -

    Consumers hear of it within about a second, on all machines; a message that comes up later, say
    a delayed one, is dropped then, for 30 days. A running call gets the exception TaskCancelled and
    is not tried again. Exit code 8: some had ended before; 1: all had.
    """
    out = Output(json=json)
    ids = _ids(out, task_ids)
    settings = settings_of(context, broker, store)
    shared = settings.store_for(settings.open_broker(), "cancel tasks")
    outcomes = cancel_tasks(shared, ids, wait=0.0 if no_wait else WAIT)
    for outcome in outcomes:
        if json:
            out.object(outcome)
        else:
            out.text(f"{visible(outcome.task_id)}  {_said(outcome)}")
    late = sum(outcome.became == "ended_before" for outcome in outcomes)
    if late == len(outcomes):
        raise FbError(
            "Nothing was cancelled: it had ended before."
            if late == 1
            else f"All {late:,} tasks had ended before."
        )
    if late:
        raise PartlyDone(f"{late:,} of {len(outcomes):,} tasks had ended before.")


def _said(outcome: Outcome) -> str:
    if outcome.became != "ended_before":
        return SAID[outcome.became]
    return "had ended before" if outcome.state == "ended" else f"had ended before: {outcome.state}"


def _ids(out: Output, words: Sequence[str]) -> list[str]:
    """Return the ids named, those of stdin in the place of `-`. Raises `UsageError` when there is
    none."""
    ids: list[str] = []
    for word in words:
        ids += (line.strip() for line in out.stdin) if word == "-" else [word]
    ids = [task_id for task_id in ids if task_id]
    if not ids:
        raise UsageError("There is no task id to cancel.")
    return ids
