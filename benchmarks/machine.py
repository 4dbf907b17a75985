"""The facts without which no figure may be quoted: machine, versions, settings, and how busy it
was."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("fbcli", "redis", "hiredis", "msgspec", "typer", "pydantic")
PEERS = ("celery", "dramatiq", "rq", "taskiq", "taskiq-redis", "funboost", "redis", "hiredis")


def facts(folder: Path, peers: str) -> dict[str, str]:
    """Return what describes this machine and run. `folder`: where the SQLite files will lie;
    `peers`: their interpreter."""
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory()}",
        "system": f"{platform.system()} {platform.release()}",
        "load": f"{load():.2f} before",
        "Python": (
            f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}"
        ),
        "libraries": ", ".join(
            f"{name} {found}" for name in LIBRARIES if (found := _version(name))
        ),
        "peers": f"{peers}: {_versions_in(peers) or 'none installed'}",
        "servers": f"{_redis()}; SQLite {sqlite3.sqlite_version}",
        "disk": f"{folder}: fdatasync of 4 KiB takes {_fsync(folder):.2f} ms (median)",
        "settings": (
            "Redis: loopback TCP, no persistence. SQLite: WAL; floors synchronous=FULL, ours as"
            " `sqlite.py` sets it. fb: all defaults (heartbeat 5 s, lease, store watch, 3 retries,"
            " dead letters), acknowledged after the call"
        ),
    }


def load() -> float:
    """How many processes wanted a core, on average over the last minute."""
    return os.getloadavg()[0]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.partition(":")[2].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _versions_in(python: str) -> str:
    """Ask another interpreter what it has installed."""
    listing = (
        "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in"
        " m.distributions()))"
    )
    said = subprocess.run(
        [python, "-c", listing], capture_output=True, text=True, check=False
    ).stdout
    found = dict(each.lower().split("==") for each in said.split())
    return (
        ", ".join(f"{name} {found[name]}" for name in PEERS if name in found)
        if PEERS[0] in found
        else ""
    )


def _redis() -> str:
    words = subprocess.run(
        ["redis-server", "--version"], capture_output=True, text=True, check=False
    ).stdout.split()
    return " ".join(["Redis", *(word[2:] for word in words if word.startswith("v="))])


def _fsync(folder: Path) -> float:
    """Milliseconds for one small write to be on the disk; far below 1 means that the disk, or its
    host, only says so."""
    probe = folder / "fsync-probe"
    times = []
    with probe.open("wb", buffering=0) as file:
        for _ in range(50):
            begun = time.perf_counter()
            file.write(b"\0" * 4096)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begun)
    probe.unlink()
    return statistics.median(times) * 1000
