"""`fb brokers`."""

from __future__ import annotations

from fbcli.catalogue import Entry, catalogue
from fbcli.console.output import Output, aligned

from .flags import JsonFlag, new_app

app = new_app()

ABILITIES = {
    "confirm": "confirm",
    "ack": "ack",
    "durable": "durable",
    "delay": "delay",
    "priority": "priority",
    "delivery_count": "count",
    "peek": "peek",
    "purge": "clear",
    "size": "size",
    "queues": "list",
    "ordered": "order",
}
"""Capability -> heading."""

LEGEND = {
    "reach": "who can share a queue",
    "confirm": "a push returns once the broker has the message",
    "ack": "what a consumer held comes back when it dies",
    "durable": "messages survive a restart of the broker",
    "count": "deliveries are counted, so that a message that kills its workers is put aside",
    "list": "`fb queues` finds all queues",
    "order": "first in, first out",
}


@app.command()
def brokers(json: JsonFlag = False) -> None:
    """List brokers and what each can do.

    \b
      fb brokers
      fb brokers --json | jq -r 'select(.capabilities.priority).schemes[]'

    What a broker cannot do by itself: delay is done by fb with the store, for all of them; the others end with exit code 5.
    """
    out = Output(json=json)
    entries = catalogue()
    if json:
        for entry in entries:
            out.object(entry)
        return
    out.table(("scheme", "reach", *ABILITIES.values(), "library"), [_row(entry) for entry in entries])
    out.text("")
    for entry in entries:
        out.text(f"{'  '.join(f'{scheme}://' for scheme in entry.schemes)}\n    {entry.summary or entry.problem}")
    out.text("")
    out.text(aligned([*LEGEND.items()], (False, False)))


def _row(entry: Entry) -> list[str]:
    can = entry.capabilities
    abilities = [("yes" if getattr(can, name) else "-") if can else "?" for name in ABILITIES]
    library = (
        "broken" if entry.problem else "built in" if not entry.install else "installed" if entry.installed else entry.install
    )
    return [", ".join(entry.schemes), can.reach if can else "?", *abilities, library]
