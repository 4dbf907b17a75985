"""The small services: starting and stopping them in any order and number does no harm; a dead
broker or store is told of once."""

from __future__ import annotations

import logging
import random
import threading

import pytest

from fbcli.broker import Outgoing
from fbcli.engine.services.heartbeat import Beating, Heartbeat
from fbcli.engine.services.service import Service
from fbcli.engine.tally import Tally
from fbcli.errors import Unavailable
from fbcli.settings import load
from tests.servers import wait_until


class Counter(Service):
    name = "counter"

    def __init__(self, period: float) -> None:
        super().__init__(period)
        self.beats = 0

    def beat(self) -> None:
        self.beats += 1


def living() -> int:
    return sum(thread.name == "fb-counter" for thread in threading.enumerate())


def test_start_and_stop_are_idempotent() -> None:
    service = Counter(0.001)
    service.start()
    service.start()
    assert living() == 1
    wait_until(lambda: service.beats > 3, "some beats")
    service.stop()
    service.stop()
    assert living() == 0
    Counter(0.001).stop()


def test_a_storm_of_starts_and_stops() -> None:
    chance = random.Random(4)
    services = [Counter(0.0005) for _ in range(10)]

    def storm() -> None:
        for _ in range(50):
            service = chance.choice(services)
            (service.start if chance.random() < 0.6 else service.stop)()

    threads = [threading.Thread(target=storm) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for service in services:
        service.stop()
    assert living() == 0


def test_trouble_is_told_once_and_does_not_end_a_service(caplog: pytest.LogCaptureFixture) -> None:
    class Troubled(Counter):
        def beat(self) -> None:
            super().beat()
            if self.beats < 5 or 10 < self.beats < 15:
                raise Unavailable("it is away")

    service = Troubled(0.001)
    with caplog.at_level(logging.WARNING):
        service.start()
        wait_until(lambda: service.beats > 20, "it to go on")
        service.stop()
    assert [record.message for record in caplog.records] == ["counter: it is away"] * 2


def test_heartbeat_counts_what_it_took_back() -> None:
    broker = load(broker="memory://").open_broker()
    broker.publish("q", [Outgoing(b"{}")] * 3)
    dead = broker.open("q", consumer_id="dead", prefetch=3, lease=0.2)
    assert len(dead.fetch(3, 0)) == 3
    tally = Tally()
    heartbeat = Heartbeat(broker, period=0.005)
    for queue in ("other", "q"):
        live = broker.open(queue, consumer_id="live", prefetch=3, lease=60)
        heartbeat.join(Beating(live, tally if queue == "q" else Tally()))
    heartbeat.start()
    wait_until(lambda: tally.counts.reclaimed == 3, "them to be back")
    heartbeat.stop()
    assert broker.size("q").ready == 3


def test_a_lease_that_cannot_be_kept_costs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    broker = load(broker="memory://").open_broker()
    inboxes = [broker.open("q", consumer_id=name, prefetch=1, lease=0.2) for name in "abc"]
    beats = []

    def fail() -> int:
        beats.append(True)
        raise ZeroDivisionError("nobody thought of it")

    inboxes[1].keep_alive = fail  # type: ignore[method-assign]
    heartbeat = Heartbeat(broker, period=0.005)
    for inbox in inboxes:
        heartbeat.join(Beating(inbox, Tally()))
    with caplog.at_level(logging.WARNING):
        heartbeat.start()
        wait_until(lambda: len(beats) > 100, "half a second of beats")
        heartbeat.stop()
    assert [inbox.lapsed for inbox in inboxes] == [False, True, False]
    (told,) = [record for record in caplog.records if "nobody thought of it" in record.message]
    assert told.exc_info, "where it came from, since it is ours"
