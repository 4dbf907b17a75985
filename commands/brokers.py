"""`fb brokers`."""

from __future__ import annotations

from math import inf

from fbcli.broker import Capabilities
from fbcli.console.output import Output, aligned
from fbcli.project.catalogue import BrokerEntry, catalogue
from fbcli.values.durations import span
from fbcli.values.sizes import about

from ._flags.place import JsonFlag, new_app

app = new_app()
IN_HELP = "Set-up", 3

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
    "delay": "it keeps delayed messages itself (so long); where not, fb does, in the store",
    "count": "lost deliveries are counted: a message that kills its workers is put aside",
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
            details = " ".join([*_details(entry.capabilities), f"Library: {_library(entry)}."])
            out.text(f"    {details}")
    out.text("")
    out.text(aligned([*LEGEND.items()], (False, False)))


def _row(entry: BrokerEntry) -> tuple[str, ...]:
    can = entry.capabilities
    return (
        entry.schemes[0],
        *(_shown(getattr(can, name)) if can else "?" for name in ABILITIES),
    )


def _shown(value: object) -> str:
    if value in (False, 0, "none"):
        return "-"
    if value is True or value == inf:
        return "yes"
    return span(value) if isinstance(value, float) else str(value)


def _details(can: Capabilities) -> list[str]:
    """Return what the table has no room for."""
    sentences = [f"Shared within a {can.reach}."]
    if can.ack and not can.fencing:
        sentences.append("A consumer that was taken for dead may settle what others have by then.")
    if can.lease == "connection":
        sentences.append("A consumer lives as long as its connection.")
    if can.max_hold < inf:
        sentences.append(f"A message is held for {span(can.max_hold)} at most.")
    if can.max_bytes is not None:
        sentences.append(f"A message has {about(can.max_bytes)} at most.")
    if can.group:
        sentences.append("?group=NAME: each group gets every message.")
    return sentences


def _library(entry: BrokerEntry) -> str:
    return (
        "none needed"
        if entry.install is None
        else "installed"
        if entry.installed
        else f"missing; {entry.install}"
    )
