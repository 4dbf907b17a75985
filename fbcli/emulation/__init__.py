"""What a poorer broker cannot do by itself is done here, once and above it: delay (messages wait in
the store), new bodies, burial and releases (published anew, then acknowledged), and the count of
lost deliveries. Nobody else knows which broker lacks what; one that lacks nothing is not wrapped.

What cannot be made up for is refused instead: priority, leases, acknowledgement.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from fbcli.broker import Broker
from fbcli.values.durations import span

if TYPE_CHECKING:
    from fbcli.stores.base import Store


def emulated(broker: Broker, open_store: Callable[[str], Store]) -> Broker:
    """Return `broker`, or where it lacks what can be made up for, one around it that does not.

    `open_store` returns the store for something that is to be done in it; it raises `Unsupported`
    where that reaches less far than the broker.
    """
    can = broker.capabilities
    lacks_nothing = (
        math.isinf(min(can.delay_publish, can.delay_release))
        and can.delay_view
        and can.rewrite
        and can.release == "both"
        and (can.delivery_count == "lost" or not can.ack)
        and can.max_bytes is None
    )
    if lacks_nothing:
        return broker
    from fbcli.emulation.broker import EmulatedBroker  # noqa: PLC0415  a rich broker needs none

    return EmulatedBroker(broker, open_store)


def waits_in_store(broker: Broker, seconds: float) -> bool:
    """Whether a message that is released for so long waits in the store."""
    inner: Broker | None = getattr(broker, "inner", None)
    return inner is not None and seconds > inner.capabilities.delay_release


def cautions(broker: Broker, timeout: float | None) -> list[str]:
    """Return what is to be expected of a broker where calls may take `timeout` seconds."""
    longest = broker.capabilities.max_hold
    if timeout is None or timeout <= longest:
        return []
    return [
        f"{broker.scheme}:// takes a message back after {span(longest, 3)}: a call that takes"
        f" longer, as its timeout of {span(timeout, 3)} allows, runs twice. Set a shorter timeout."
    ]
