"""Processes with all below them, and their end by kill -9. Kills none but those it is given and
their descendants."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from fbcli.platform import system

MOST_ROUNDS = 20
"""How often a tree is looked at anew before it is killed; what is stopped starts nothing more, so
two or three are enough."""

Family = Mapping[int, list[int]]
"""Process id -> those of its children."""


def family() -> Family:
    """Return who is whose child on this host, now. Raises `Unsupported`."""
    children: dict[int, list[int]] = {}
    for pid, parent in system.parents():
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
    system.freeze(pid)
    stopped = [pid]
    for _ in range(MOST_ROUNDS):
        found = [each for each in descendants(pid) if each not in stopped]
        if not found:
            break
        for each in found:
            system.freeze(each)
        stopped += found
    for each in stopped:
        system.kill(each)
    return stopped


def kill_child(process: subprocess.Popen[bytes]) -> list[int]:
    """`kill_tree` of a process of ours, which is gone when it returns; nothing for one that has
    ended."""
    pids = kill_tree(process.pid) if process.poll() is None else []
    process.wait()
    return pids
