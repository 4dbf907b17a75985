"""Dramatiq: acknowledged after the call, as always there; one process of 8 threads, its default."""

from __future__ import annotations

import os
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.cli import main

from benchmarks.peers import side, tally

dramatiq.set_broker(RedisBroker(url=os.environ.get("BENCH_URL")))
add = dramatiq.actor(tally.add)


def push(url: str, count: int) -> None:
    for number in range(count):
        add.send(number, y=2)


def consume(url: str) -> None:
    sys.argv = ["dramatiq", "benchmarks.peers.dramatiq", "--processes", "1", "--threads", "8"]
    sys.exit(main())


if __name__ == "__main__":
    side.play(push, consume)
