"""What many functions cost in one process that has nothing to do: threads, connections, processor,
commands of the server, and how long they take to start (Linux: read from /proc)."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import redis

from benchmarks.figures import OURS, Benchmark, Figure, Missing, Target
from benchmarks.place import Place, end, fb_command
from fbcli.stores import open_store

COUNTS = (1, 10, 100)
SETTLE = 12.0
"""Seconds until what the start has opened and does not need any more is closed."""
SECONDS = 20.0


def functions(place: Place, count: int) -> list[str]:
    """Write a module of so many functions; return their addresses."""
    text = "".join(
        f"def work{number}(x: int = 0) -> int:\n    return x\n\n\n" for number in range(count)
    )
    (place.folder / "many_functions.py").write_text(text)
    return [f"many_functions:work{number}" for number in range(count)]


def idle(place: Place, kind: str, count: int) -> Mapping[str, float]:
    """Return the figures of a consumer of so many functions."""
    if not Path("/proc/self/stat").exists():
        raise Missing("there is no /proc here: Linux only")
    url, addresses = place.fresh(kind), functions(place, count)
    log = place.folder / "many.log"
    with log.open("wb") as output:
        words = (fb_command(), "consume", *addresses, "--broker", url, "--store", url)
        begun = time.monotonic()
        process = place.start(*words, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        proc = Path(f"/proc/{process.pid}")
        start = _all_consume(url, count, begun, process, log)
        start_cpu = _cpu(proc)
        time.sleep(place.scaled(int(SETTLE), 4))
        commands, cpu, at = _commands(url), _cpu(proc), time.monotonic()
        time.sleep(place.scaled(int(SECONDS), 5))
        seconds = time.monotonic() - at
        figures = {
            "start": start,
            "start_cpu": start_cpu,
            "threads": len(list((proc / "task").iterdir())) / count,
            "files": len(list((proc / "fd").iterdir())) / count,
            "connections": _connections(proc, url) / count,
            "cpu": (_cpu(proc) - cpu) / seconds * 100,
        }
        if kind == "redis":  # less the INFO that counts them
            figures["commands"] = (_commands(url) - commands - 1) / seconds / count
        if process.poll() is not None:
            raise RuntimeError(f"it ended with {process.returncode}:\n{log.read_text()[-2000:]}")
        return figures
    finally:
        end(process)


def _all_consume(
    url: str, count: int, begun: float, process: subprocess.Popen[bytes], log: Path
) -> float:
    """Wait until all functions are known to be consumed; return the seconds since `begun`."""
    store = open_store(url)
    try:
        while len(store.consumers()) < count:
            if process.poll() is not None or time.monotonic() > begun + 120:
                raise RuntimeError(f"not all began to consume:\n{log.read_text()[-2000:]}")
            time.sleep(0.02)
    finally:
        store.close()
    return time.monotonic() - begun


def _cpu(proc: Path) -> float:
    """Seconds of processor, of all threads (proc(5): fields 14 and 15 of stat)."""
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _connections(proc: Path, url: str) -> int:
    """Count the process's sockets to the server, or how often it has the database file open."""
    links = []
    for entry in (proc / "fd").iterdir():
        try:
            links.append(os.readlink(entry))
        except OSError:  # it was closed meanwhile
            continue
    if url.startswith("sqlite:"):
        return links.count(url.removeprefix("sqlite:///"))
    with redis.Redis.from_url(url) as client:
        ours = {link[8:-1] for link in links if link.startswith("socket:[")}
        rows = [row.split() for row in (proc / "net/tcp").read_text().splitlines()[1:]]
        port = f":{client.connection_pool.connection_kwargs['port']:04X}"
        return sum(row[9] in ours and row[2].endswith(port) for row in rows)


def _commands(url: str) -> int:
    """Return how many commands the server has carried out so far, those inside of scripts too."""
    if url.startswith("sqlite:"):
        return 0
    with redis.Redis.from_url(url) as client:
        return int(client.info("stats")["total_commands_processed"])


def _figures(kind: str) -> tuple[Figure, ...]:
    many = f"{OURS}, {COUNTS[-1]}"
    figures = [
        Figure("threads", "threads a function", "", {many: Target(high=1.2)}, min),
        Figure("connections", "connections a function", "", {many: Target(high=1.5)}, min),
        Figure("files", "open files a function", "", best=min),
        Figure("cpu", "processor in all", "% of a core", {many: Target(high=5)}, min),
        Figure("start", "start until all consume", "s", {many: Target(high=1.5)}, min),
        Figure("start_cpu", "processor for that", "s", best=min),
    ]
    if kind == "redis":
        figures.append(
            Figure("commands", "commands a second and function", "", {many: Target(high=5)}, min)
        )
    return tuple(figures)


BENCHMARKS = [
    Benchmark(
        f"many.{kind}",
        f"`fb consume` of {', '.join(map(str, COUNTS))} functions in one process, queues empty, no"
        f" terminal; watched for {SECONDS:g} s, {SETTLE:g} s after the start.",
        {f"{OURS}, {count}": partial(idle, kind=kind, count=count) for count in COUNTS},
        _figures(kind),
        rounds=2,
    )
    for kind in ("redis", "sqlite")
]
