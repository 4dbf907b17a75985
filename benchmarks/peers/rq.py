"""RQ: the SimpleWorker, which runs jobs in its own process (the default one forks for every job,
and is slower)."""

from __future__ import annotations

from redis import Redis
from rq import Queue, SimpleWorker

from benchmarks.peers import side, tally


def push(url: str, count: int) -> None:
    queue = Queue("bench", connection=Redis.from_url(url))
    for number in range(count):
        queue.enqueue(tally.add, number, y=2, result_ttl=0)


def consume(url: str) -> None:
    connection = Redis.from_url(url)
    SimpleWorker([Queue("bench", connection=connection)], connection=connection).work(
        logging_level="ERROR"
    )


if __name__ == "__main__":
    side.play(push, consume)
