"""Pushing to an SQLite file: one by one, each on the disk before the next; and in bulk."""

from __future__ import annotations

import json
import sqlite3
from time import monotonic
from typing import Any

from benchmarks.child import Go
from benchmarks.consume_sqlite import INDEX, SCHEMA, connect
from benchmarks.draining import cpu, spent
from benchmarks.figures import FLOOR, OURS, Benchmark, Figure, at_least
from benchmarks.pushing import AT_ONCE, CPU, by_command, call, measured

SINGLES = 8_000
MANY = 100_000
INSERT = "INSERT INTO message(body) VALUES (?)"


def _queue(url: str) -> sqlite3.Connection:
    """Make the table and index that the floor of consuming needs: a queue that could be
    consumed."""
    connection = connect(url.removeprefix("sqlite:///"), "FULL")
    connection.execute(SCHEMA)
    connection.execute(INDEX)
    return connection


def insert(go: Go, url: str, count: int) -> dict[str, float]:
    """The floor of single pushes: one INSERT, one transaction, on the disk when it returns."""
    connection = _queue(url)
    go()
    begun, cpu_begun = monotonic(), cpu()
    for number in range(count):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(INSERT, (json.dumps(call(number)).encode(),))
        connection.execute("COMMIT")
    return spent(begun, cpu_begun, count)


def executemany(go: Go, url: str, count: int) -> dict[str, float]:
    """The floor of many: `executemany`, 500 a transaction."""
    connection = _queue(url)
    go()
    begun, cpu_begun = monotonic(), cpu()
    for start in range(0, count, AT_ONCE):
        numbers = range(start, min(count, start + AT_ONCE))
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(INSERT, [(json.dumps(call(number)).encode(),) for number in numbers])
        connection.execute("COMMIT")
    return spent(begun, cpu_begun, count)


def _side(target: str, full: int) -> Any:
    return lambda place: measured(place, "sqlite", target, full)


BENCHMARKS = [
    Benchmark(
        "push.sqlite.one",
        f"{SINGLES:,} pushes, each on the disk before the next. floor: BEGIN, INSERT, COMMIT; WAL,"
        " synchronous=FULL, one index.",
        {
            FLOOR: _side("benchmarks.push_sqlite:insert", SINGLES),
            OURS: _side("benchmarks.pushing:push", SINGLES),
        },
        (Figure("rate", "one by one", "messages/s", {OURS: at_least(0.9)}), CPU),
    ),
    Benchmark(
        "push.sqlite.many",
        f"{MANY:,} messages, {AT_ONCE} a transaction. floor: executemany; WAL, synchronous=FULL,"
        " one index.",
        {
            FLOOR: _side("benchmarks.push_sqlite:executemany", MANY),
            OURS: _side("benchmarks.pushing:push_many", MANY),
            "fb push -": lambda place: by_command(place, "sqlite", MANY),
        },
        (
            Figure(
                "rate", "in bulk", "messages/s", {OURS: at_least(0.25), "fb push -": at_least(0.25)}
            ),
            CPU,
            Figure("start", "fb push - of one line", "s"),
        ),
    ),
]
