"""What a consumer says of itself to other machines."""

from __future__ import annotations

import os
from collections.abc import Sequence

from fbcli.clock import Clock
from fbcli.engine.live_limits import LimitsInForce
from fbcli.engine.settler import HOST
from fbcli.engine.tally import Snapshot
from fbcli.monitoring.rates import Growth
from fbcli.stores.records import ConsumerRecord, Hold

MOST_RUNNING = 200
"""How many running tasks are named."""


class Recorder:
    """Makes the records of one consumer, one after the other. Used by one thread."""

    def __init__(self, consumer_id: str, clock: Clock) -> None:
        self._consumer_id = consumer_id
        self._clock = clock
        self._started = clock.now()
        self._growth = Growth()

    def record(
        self,
        snapshot: Snapshot,
        running: list[str],
        in_force: LimitsInForce | None,
        holds: Sequence[Hold] = (),
    ) -> ConsumerRecord:
        """Return how it stands; `running`: the ids of the tasks that run; `holds`: what keeps
        others from it."""
        ended = self._growth.per_second(self._clock.monotonic(), snapshot.counts.done)
        seconds = snapshot.seconds
        return ConsumerRecord(
            consumer_id=self._consumer_id,
            host=HOST,
            pid=os.getpid(),
            started=self._started,
            queue=snapshot.queue,
            address=snapshot.address,
            state=snapshot.state,
            note=snapshot.note,
            trouble=snapshot.trouble,
            holds=list(holds),
            counts=snapshot.counts,
            in_flight=snapshot.in_flight,
            running=running[:MOST_RUNNING],
            concurrency=snapshot.concurrency,
            qps=in_force.qps if in_force else None,
            qps_scope=in_force.qps_scope if in_force else "process",
            per_second=round(ended, 3),
            mean_seconds=round(sum(seconds) / len(seconds), 6) if seconds else 0.0,
        )
