"""Processes with all below them, and their end by kill -9. Kills none but those it is given and
their descendants."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

MOST_ROUNDS = 20
"""How often a tree is looked at anew before it is killed; what is stopped starts nothing more, so
two or three are enough."""

Family = Mapping[int, list[int]]
"""Process id -> those of its children."""


def family() -> Family:
    """Return who is whose child on this host, now."""
    pairs = _from_proc() if Path("/proc/self/stat").exists() else _from_ps()
    children: dict[int, list[int]] = {}
    for pid, parent in pairs:
        children.setdefault(parent, []).append(pid)
    return children


def descendants(pid: int, known: Family | None = None) -> list[int]:
    """Return the process ids of the children, grandchildren and so on."""
    children = family() if known is None else known
    found = list(children.get(pid, ()))
    for child in found:
        found.extend(children.get(child, ()))
    return found


def kill_tree(pid: int) -> list[int]:
    """kill -9 of a process and all below it; return their ids. Each is stopped first, so that none
    can start another meanwhile."""
    _send(pid, signal.SIGSTOP)
    stopped = [pid]
    for _ in range(MOST_ROUNDS):
        found = [each for each in descendants(pid) if each not in stopped]
        if not found:
            break
        for each in found:
            _send(each, signal.SIGSTOP)
        stopped += found
    for each in stopped:
        _send(each, signal.SIGKILL)
    return stopped


def kill_child(process: subprocess.Popen[bytes]) -> list[int]:
    """`kill_tree` of a process of ours, which is gone when it returns; nothing for one that has
    ended."""
    pids = kill_tree(process.pid) if process.poll() is None else []
    process.wait()
    return pids


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _from_proc() -> list[tuple[int, int]]:
    """Linux: proc(5), stat: pid (name) state ppid …; the name may hold spaces and parentheses."""
    pairs = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                text = Path("/proc", name, "stat").read_text(errors="replace")
            except OSError:  # it has ended meanwhile
                continue
            pairs.append((int(name), int(text.rpartition(")")[2].split()[1])))
    return pairs


def _from_ps() -> list[tuple[int, int]]:
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    return [(int(pid), int(parent)) for pid, parent in map(str.split, listed.splitlines())]
