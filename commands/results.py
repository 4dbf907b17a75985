"""`fb results`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from fbcli.clock import SYSTEM
from fbcli.console.output import Output
from fbcli.console.results import COLUMNS, cells, plain
from fbcli.queues.lookup import find_queue, nearby
from fbcli.stores.base import Result, Store

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
IN_HELP = "Tasks", 1

DEPTH = (100, 1_000, 10_000)
"""How many of the newest results are gone through, in turn, until enough that failed are found."""


@app.command()
def results(
    queue: Annotated[
        str | None, typer.Argument(metavar="QUEUE", help=f"{QUEUE_HELP} Default: all.")
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", "-n", envvar="FB_LIMIT", metavar="N", min=1, help="How many at most."
        ),
    ] = 20,
    failed: Annotated[
        bool, typer.Option("--failed", envvar="FB_FAILED", help="Only those of tasks that failed.")
    ] = False,
    json: JsonFlag = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """List the newest results.

    \b
      fb results
      fb results mymod:task --failed
      fb results mymod:task -n 1000 --json | jq -r 'select(.state == "failed") | .task_id'

    A result is saved where somebody asked for it: --results of a consumer, --result of a push, `fb
    call`; for a day, unless --result-ttl says otherwise. `fb show TASK_ID` shows one in full.
    """
    out = Output(json=json)
    settings = settings_of(context, broker, store)
    found = None if queue is None else find_queue(queue, settings)
    kept = settings.store_for(
        settings.open_broker() if found is None else found.broker, "keep results"
    )
    newest = _newest(kept, None if found is None else found.name, limit, failed=failed)
    if json:
        for result in newest:
            out.object(plain(result))
        return
    name = "There are no results" if found is None else f"{found.name} has no results"
    empty = (
        (
            f"{name}{' of tasks that failed' if failed else ''}."
            f"{'' if found is None else nearby(found)}"
        ),
        f"fb consume {queue or 'mymod:task'} --results",
        f"fb push {queue or 'mymod:task'} x=1 --result",
    )
    now = SYSTEM.now()
    out.table(COLUMNS, [cells(result, now) for result in newest], empty=empty)


def _newest(store: Store, queue: str | None, limit: int, *, failed: bool) -> Sequence[Result]:
    """Return the newest results, up to `limit`."""
    if not failed:
        return store.results(queue, limit)
    found: Sequence[Result] = ()
    for depth in DEPTH:
        looked_at = store.results(queue, depth)
        found = [result for result in looked_at if result.state == "failed"][:limit]
        if len(found) == limit or len(looked_at) < depth:
            break
    return found
