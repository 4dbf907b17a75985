"""TaskIQ: a Redis stream, its broker with acknowledgement; one worker process."""

from __future__ import annotations

import asyncio
import os
import sys

from taskiq.__main__ import main
from taskiq_redis import RedisStreamBroker

from benchmarks.peers import side, tally

broker = RedisStreamBroker(url=os.environ.get("BENCH_URL", "redis://"))


@broker.task(task_name="add")
async def add(x: int, y: int = 2) -> int:
    return tally.add(x, y)


def push(url: str, count: int) -> None:
    async def every() -> None:
        await broker.startup()
        for number in range(count):
            await add.kiq(number, y=2)
        await broker.shutdown()

    asyncio.run(every())


def consume(url: str) -> None:
    sys.argv = [
        "taskiq",
        "worker",
        "benchmarks.peers.taskiq:broker",
        "--workers",
        "1",
        "--log-level",
        "ERROR",
    ]
    main()


if __name__ == "__main__":
    side.play(push, consume)
