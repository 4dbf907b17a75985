"""Celery: acknowledged after the call (`acks_late`), no results, the solo pool, its fastest for
short tasks in one process."""

from __future__ import annotations

import os

from celery import Celery

from benchmarks.peers import side, tally

app = Celery("bench", broker=os.environ.get("BENCH_URL"))
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=500,
    worker_hijack_root_logger=False,
)
add = app.task(name="add")(tally.add)


def push(url: str, count: int) -> None:
    for number in range(count):
        add.delay(number, y=2)


def consume(url: str) -> None:
    app.worker_main(
        ["worker", "--pool", "solo", "--loglevel", "ERROR", "--without-gossip", "--without-mingle"]
    )


if __name__ == "__main__":
    side.play(push, consume)
