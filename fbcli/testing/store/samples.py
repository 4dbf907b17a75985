"""What the tests of the store contract are made of: every verb once, samples of what is stored, and
a process of its own with a store."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

from fbcli.stores.base import ConsumerRecord, Limits, Parked, Result, Store, Writes

OPEN = """
import sys, time
from fbcli.stores import open_store
from fbcli.stores.base import BUSY, DONE, GRANTED, Limits, Parked, Result, Writes
store = open_store(sys.argv[1])
"""
STRANGE = "üñ{i}:*?[x] 'q\"\\ %s; 队列"


def elsewhere(url: str, code: str, *words: str) -> subprocess.Popen[str]:
    """Run `code` in a process of its own, with `store` opened on `url`, and `words` from
    `sys.argv[2]` on."""
    script = f"{OPEN}{textwrap.dedent(code)}\nstore.close()"
    return subprocess.Popen(
        [sys.executable, "-c", script, url, *words], stdout=subprocess.PIPE, text=True
    )


def output_of(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return output


def a_result(task_id: str = "t", queue: str = "q", **fields: object) -> Result:
    return Result(task_id=task_id, queue=queue, **{"state": "succeeded", **fields})  # type: ignore[arg-type]


def a_record(consumer_id: str = "w", **fields: object) -> ConsumerRecord:
    return ConsumerRecord(consumer_id, **{"host": "h", "pid": 1, "started": 1.5, **fields})  # type: ignore[arg-type]


def a_message(
    parked_id: str = "m", due: float = 1.0, queue: str = "q", scheme: str = "amqp", **fields: object
) -> Parked:
    return Parked(parked_id, queue, scheme, due, **{"body": b"{}", **fields})  # type: ignore[arg-type]


def ids(items: list[Any]) -> list[str]:
    return [item.parked_id if isinstance(item, Parked) else item.task_id for item in items]


EVERY_VERB: dict[str, Callable[[Store], object]] = {
    "pause": lambda store: store.pause("q", 1),
    "resume": lambda store: store.resume("q"),
    "pauses": lambda store: store.pauses(),
    "limit": lambda store: store.limit("q", Limits(qps=5)),
    "unlimit": lambda store: store.unlimit("q"),
    "limits": lambda store: store.limits(),
    "request_cancel": lambda store: store.request_cancel(["t"], 60),
    "cancels": lambda store: store.cancels(),
    "end_cancels": lambda store: store.end_cancels(["t"]),
    "news": lambda store: store.news(),
    "take_tokens": lambda store: store.take_tokens("k", 100, 10, ahead=0.1, slack=0.01),
    "claim": lambda store: store.claim("s", ["k"], ["1"], owner="o", lease=60),
    "claim for long": lambda store: store.claim("s", ["k"], ["1"], owner="o", lease=3600),
    "keep_claims": lambda store: store.keep_claims(["s"], "o", 60),
    "free": lambda store: store.write(Writes().free("s", ["k"], ["1"], owner="o")),
    "drop_claims": lambda store: store.drop_claims(["s"], "o"),
    "mark": lambda store: store.write(Writes().mark("s", ["k"], ["1"], owner="o", ttl=60)),
    "unmark": lambda store: store.unmark("s", ["k"]),
    "sweep": lambda store: store.sweep(["s"]),
    "save_results": lambda store: store.save_results([a_result()], 60),
    "result": lambda store: store.result("t"),
    "results_of": lambda store: store.results_of(["t"]),
    "wait_result": lambda store: store.wait_result("t", 0.2),
    "results": lambda store: store.results(),
    "beat": lambda store: store.beat([a_record()], 60),
    "retire": lambda store: store.retire(["w"]),
    "consumers": lambda store: store.consumers(),
    "count": lambda store: store.count({"c": 1}, 3600),
    "forget_counts": lambda store: store.forget_counts(["c"]),
    "park": lambda store: store.park([a_message()]),
    "due": lambda store: store.due("q", "amqp", 10, 60),
    "parked": lambda store: store.parked("q", "amqp", 10),
    "parked_count": lambda store: store.parked_count("q", "amqp"),
    "parked_queues": lambda store: store.parked_queues("amqp"),
    "unpark": lambda store: store.unpark("q", "amqp", ["m"]),
}
