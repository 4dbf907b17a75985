"""Options of what becomes of a call: its dead letter, and its result."""

from __future__ import annotations

from fbcli.values import kinds
from fbcli.values.declaration import Declaration, option


class DeadLetterOptions(Declaration):
    """When a message is given up, and what is kept of it."""

    max_deliveries: int = option(
        10,
        kinds.whole(1),
        "Failure",
        "A message that was lost with its worker this often goes to the dead letters.",
    )
    dead: bool = option(
        True,
        kinds.switch(),
        "Failure",
        "Keep what failed for good in the queue NAME.dead; else drop it.",
    )


class ResultOptions(Declaration):
    """What is kept of a call that has ended."""

    results: bool = option(
        False, kinds.switch(), "Results", "Save what each call returns, or how it failed."
    )
    result_ttl: float = option(
        86400.0, kinds.seconds(above=0), "Results", "How long a result is kept (seconds)."
    )


class ResultMessage(Declaration):
    """What a message may set for itself."""

    result: bool | None = option(None, kinds.switch())
