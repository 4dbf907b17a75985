"""Ends what a trial has started when the trial itself is killed: a process of its own, told by a
pipe whom to look after.

It reads `+PID` and `-PID`, a line each; at the end of its input it kills
those that are left.
"""

from __future__ import annotations

import subprocess
import sys

from fbcli.chaos.processes import kill_tree
from fbcli.platform import system
from fbcli.processes.command import python_command


class Guard:
    """The trial's side."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            python_command("fbcli.chaos.guard:main"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **system.own_group,
        )

    def watch(self, pid: int) -> None:
        """Kill this process and all below it if the trial should die."""
        self._tell(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        """This one has ended."""
        self._tell(f"-{pid}\n")

    def close(self) -> None:
        """Kill those that are left, and end."""
        pipe = self._process.stdin
        if pipe is not None and not pipe.closed:
            try:
                pipe.close()
            except BrokenPipeError:  # somebody has killed it; there is nothing left to tell it
                pass
        self._process.wait()

    def _tell(self, line: str) -> None:
        pipe = self._process.stdin
        if pipe is None or self._process.poll() is not None:
            return
        try:
            pipe.write(line.encode())
            pipe.flush()
        except BrokenPipeError:
            return


def main() -> None:
    """Read to the end, then kill who is left."""
    left: set[int] = set()
    for line in sys.stdin:
        if line.endswith("\n"):
            (left.add if line[0] == "+" else left.discard)(int(line[1:]))
    for pid in left:
        kill_tree(pid)
