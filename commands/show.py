"""`fb show`."""

from __future__ import annotations

from typing import Annotated

import typer

from fbcli.clock import SYSTEM
from fbcli.console.output import Output, visible
from fbcli.console.results import lines, status
from fbcli.errors import PartlyDone, TaskNotFound, did_you_mean
from fbcli.results.status import statuses
from fbcli.stores.base import Store

from ._flags.place import BrokerFlag, ContextFlag, JsonFlag, StoreFlag, new_app, settings_of

app = new_app()
IN_HELP = "Tasks", 2

RECENT = 200
"""How many of the newest results are looked at for an id that was meant."""


@app.command(no_args_is_help=True)
def show(
    task_ids: Annotated[
        list[str], typer.Argument(metavar="TASK_ID", help="As `fb push` prints it.")
    ],
    json: JsonFlag = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """Show how tasks stand: running, held up or ended, what they returned, or why they failed.

    \b
      fb show 0198c0de-…
      fb show $(fb push mymod:task x=1 --result)
      fb show 0198c0de-… --json | jq .value

    Known are results that were saved (--results of a consumer, --result of a push), and what live
    consumers run or may not run yet; a task that still waits in its queue is not. Exit code 3:
    nothing is known of it; 8: of some only.
    """
    out = Output(json=json)
    settings = settings_of(context, broker, store)
    shared = settings.store_for(settings.open_broker(), "keep results")
    found, cancels, now = statuses(shared, task_ids), shared.cancels(), SYSTEM.now()
    known = [each for each in found if each.known or each.task_id in cancels]
    for number, each in enumerate(known):
        asked = each.result is None and each.task_id in cancels
        if json:
            out.object(status(each, cancel_asked=asked))
            continue
        if number:
            out.text("")
        for line in lines(each, now, cancel_asked=asked):
            out.text(line)
    missing = [each.task_id for each in found if each not in known]
    if len(missing) == len(found):
        raise TaskNotFound(_nothing_known(shared, missing[0]))
    if missing:
        raise PartlyDone(visible(f"Nothing is known of {', '.join(missing)}."))


def _nothing_known(store: Store, task_id: str) -> str:
    hint = did_you_mean(task_id, [result.task_id for result in store.results(limit=RECENT)])
    return visible(
        f"Nothing is known of task {task_id}: it waits in its queue, or its result was not saved"
        f" (--results, --result), or that was longer ago than results are kept.{hint}"
    )
