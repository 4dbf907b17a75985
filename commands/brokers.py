"""`fb brokers`."""

from __future__ import annotations

from fbcli.console.output import Output, aligned
from fbcli.project.catalogue import BrokerEntry, catalogue

from ._flags.place import JsonFlag, new_app

app = new_app()

ABILITIES = {
    "confirm": "confirm",
    "ack": "ack",
    "durable": "durable",
    "delay_publish": "delay",
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
    "confirm": "a push returns once the broker has the message",
    "ack": "what a consumer held comes back when it dies",
    "durable": "messages survive a restart of the broker",
    "delay": "it keeps delayed messages itself; where not, fb does, in the store",
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

    A command that needs what its broker cannot do ends with exit code 5.
    """
    out = Output(json=json)
    entries = catalogue()
    if json:
        for entry in entries:
            out.object(entry)
        return
    rows = [("broker", *ABILITIES.values()), *map(_row, entries)]
    out.text(aligned(rows, [False] * len(rows[0]), gap=1))
    for entry in entries:
        out.text(
            f"\n{'  '.join(f'{scheme}://' for scheme in entry.schemes)}\n   "
            f" {entry.summary or entry.problem}"
        )
        if entry.capabilities:
            out.text(
                f"    Shared within a {entry.capabilities.reach}. Client library:"
                f" {_library(entry)}."
            )
    out.text("")
    out.text(aligned([*LEGEND.items()], (False, False)))


def _row(entry: BrokerEntry) -> tuple[str, ...]:
    can = entry.capabilities
    return (
        entry.schemes[0],
        *(("yes" if getattr(can, name) else "-") if can else "?" for name in ABILITIES),
    )


def _library(entry: BrokerEntry) -> str:
    return (
        "none needed"
        if entry.install is None
        else "installed"
        if entry.installed
        else f"missing; {entry.install}"
    )
