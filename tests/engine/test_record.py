"""What a consumer says of itself to other machines."""

from __future__ import annotations

import os

from fbcli.engine.live_limits import LimitsInForce
from fbcli.engine.record import MOST_RUNNING, Recorder
from fbcli.engine.tally import Snapshot
from fbcli.stores.base import Counts
from tests.engine.factories import Clock


def test_it_says_how_it_stands() -> None:
    clock = Clock()
    recorder = Recorder("me", clock)
    snapshot = Snapshot(
        "q", "m:f", Counts(succeeded=5), in_flight=3, state="paused", note="for ever"
    )
    first = recorder.record(snapshot, ["a", "b"], None)
    assert (first.consumer_id, first.pid, first.started) == ("me", os.getpid(), clock.at)
    assert (first.queue, first.address, first.in_flight) == ("q", "m:f", 3)
    assert (first.state, first.note, first.running) == ("paused", "for ever", ["a", "b"])
    assert (first.qps, first.qps_scope, first.per_second, first.mean_seconds) == (
        None,
        "process",
        0.0,
        0.0,
    )


def test_it_says_what_it_does_a_second_and_how_long_that_takes() -> None:
    clock = Clock()
    recorder = Recorder("me", clock)
    recorder.record(Snapshot("q", "m:f", Counts(succeeded=5)), [], None)
    clock.at += 4
    later = Snapshot("q", "m:f", Counts(succeeded=20, failed=5), seconds=[0.1, 0.3])
    record = recorder.record(later, [], LimitsInForce(2.5, "cluster", 4))
    assert (record.per_second, record.mean_seconds) == (5.0, 0.2)
    assert (record.qps, record.qps_scope) == (2.5, "cluster")


def test_a_crowd_that_runs_is_cut_short() -> None:
    running = [f"{n}" for n in range(2 * MOST_RUNNING)]
    record = Recorder("me", Clock()).record(Snapshot("q", "m:f", Counts()), running, None)
    assert record.running == running[:MOST_RUNNING]
