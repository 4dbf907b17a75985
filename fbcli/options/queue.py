"""Options of where a function's messages are."""

from __future__ import annotations

from fbcli.values import kinds
from fbcli.values.declaration import Declaration, option

PRIORITY = kinds.whole(0, 9)


class QueueOptions(Declaration):
    """The queue and its broker."""

    queue: str | None = option(
        None, kinds.text(), "Queue", "Queue name; by default module.function of the address."
    )
    broker: str | None = option(
        None,
        kinds.text(10_000),
        "Queue",
        "Broker URL of this function, where it is not that of the context.",
    )
    priority: int = option(
        0, PRIORITY, "Queue", "Priority of its messages: 0 (ordinary) to 9 (first)."
    )


class QueueMessage(Declaration):
    """What a message may set for itself."""

    priority: int | None = option(None, PRIORITY)
