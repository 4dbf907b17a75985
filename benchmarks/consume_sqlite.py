"""Consuming a trivial function from an SQLite file, every transaction on the disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from time import monotonic
from typing import Any

from benchmarks import draining
from benchmarks.child import Go
from benchmarks.draining import ATRIVIAL, TRIVIAL, cpu, decode_message, spent
from benchmarks.figures import FLOOR, OURS, Benchmark, Figure, at_least
from benchmarks.messages import body, fill, queue_of
from benchmarks.place import Place
from benchmarks.tasks import trivial

COUNT = 100_000
BATCH = 100

SCHEMA = "CREATE TABLE message(id INTEGER PRIMARY KEY, owner TEXT, body BLOB NOT NULL)"
INDEX = "CREATE INDEX ready ON message(id) WHERE owner IS NULL"
CLAIM = """UPDATE message SET owner = 'me'
    WHERE id IN (SELECT id FROM message WHERE owner IS NULL ORDER BY id LIMIT ?)
    RETURNING id, body"""


def connect(path: str, synchronous: str) -> sqlite3.Connection:
    """Return a connection in WAL mode, with no transactions but those asked for."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={synchronous}")
    return connection


def bare(go: Go, path: str, synchronous: str) -> dict[str, float]:
    """The floor: claim 100 in one transaction, call, delete 100 in another one."""
    connection = connect(path, synchronous)
    go()
    begun, cpu_begun, count = monotonic(), cpu(), 0
    while True:
        connection.execute("BEGIN IMMEDIATE")
        claimed = connection.execute(CLAIM, (BATCH,)).fetchall()
        connection.execute("COMMIT")
        if not claimed:
            return spent(begun, cpu_begun, count)
        for _, each in claimed:
            arguments = decode_message(each)
            del arguments["extra"]
            trivial(**arguments)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "DELETE FROM message WHERE id = ?", [(number,) for number, _ in claimed]
        )
        connection.execute("COMMIT")
        count += len(claimed)


def floor(place: Place, synchronous: str) -> Mapping[str, float]:
    path, count = place.sqlite().removeprefix("sqlite:///"), place.scaled(COUNT)
    connection = connect(path, "OFF")
    for statement in (SCHEMA, INDEX, "BEGIN"):
        connection.execute(statement)
    rows = ((body({"x": number, "y": 2}),) for number in range(count))
    connection.executemany("INSERT INTO message(body) VALUES (?)", rows)
    connection.execute("COMMIT")
    connection.close()
    arguments = {"path": path, "synchronous": synchronous}
    return draining.rate(place, "benchmarks.consume_sqlite:bare", count, arguments)


def _filled(place: Place, address: str = TRIVIAL) -> tuple[str, int]:
    url, count = place.sqlite(), place.scaled(COUNT)
    fill(url, queue_of(address), count)
    return url, count


def inbox(place: Place) -> Mapping[str, float]:
    url, count = _filled(place)
    return draining.rate(
        place,
        "benchmarks.draining:inbox",
        count,
        {"url": url, "queue": queue_of(TRIVIAL), "batch": 500},
    )


def ours(place: Place, address: str = TRIVIAL, **options: Any) -> Mapping[str, float]:
    url, count = _filled(place, address)
    return draining.by_consumer(place, url, count, address, **options)


def command(place: Place) -> Mapping[str, float]:
    return draining.by_command(place, *_filled(place))


BENCHMARKS = [
    Benchmark(
        "consume.sqlite",
        f"{COUNT:,} messages of 110 bytes, filled before. floor: claim {BATCH} + delete {BATCH}, a"
        " transaction each, WAL, synchronous=FULL. Our publishes are FULL, our claims and"
        " acknowledgements NORMAL: see `brokers/sqlite/`; 'floor, NORMAL' has that durability.",
        {
            FLOOR: lambda place: floor(place, "FULL"),
            "floor, NORMAL": lambda place: floor(place, "NORMAL"),
            "inbox, no engine": inbox,
            OURS: ours,
            "fb, 8 threads": lambda place: ours(place, mode="threads", concurrency=8),
            "fb, solo": lambda place: ours(place, mode="solo"),
            "fb, async def": lambda place: ours(place, ATRIVIAL),
            "fb consume --burst": command,
        },
        (
            Figure("rate", "throughput", "tasks/s", {OURS: at_least(0.20)}),
            Figure("cpu", "processor time per task", "µs", best=min),
            Figure("start", "start and end on an empty queue", "s", best=min),
        ),
    ),
    Benchmark(
        "consume.sqlite.processes",
        "two consumers of one file against one.",
        {"one": ours, "fb, two": lambda place: ours(place, processes=2)},
        (Figure("rate", "two processes", "tasks/s"),),
    ),
]
