"""Queues filled before anything is measured, with the messages that `push` would have published."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import redis

from fbcli.broker import Outgoing
from fbcli.broker_registry import open_broker
from fbcli.message import encode, new_task_id

AT_ONCE = 1000


def queue_of(address: str) -> str:
    """Return the default queue of an address."""
    return address.replace(":", ".")


def body(arguments: Mapping[str, Any]) -> bytes:
    """Return a message as it travels."""
    return encode(arguments, {"task_id": new_task_id(), "publish_time": time.time()})


def fill(url: str, queue: str, count: int, arguments: Mapping[str, Any] | None = None) -> None:
    """Put `count` messages into a queue; by default the calls x=0…, y=2."""
    batches = (
        [
            body(arguments if arguments is not None else {"x": number, "y": 2})
            for number in range(start, min(count, start + AT_ONCE))
        ]
        for start in range(0, count, AT_ONCE)
    )
    if url.startswith("redis:"):
        with redis.Redis.from_url(url) as client:
            for batch in batches:
                client.lpush(queue, *batch)
        return
    broker = open_broker(url)
    try:
        for batch in batches:
            broker.publish(queue, [Outgoing(each) for each in batch])
    finally:
        broker.close()
