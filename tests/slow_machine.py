"""Run a command, and all that it starts, with a share of one core: as on a small or busy machine.

    python tests/slow_machine.py 0.25 .venv/bin/python -m pytest -m quick

Linux, as root: a control group of the kernel, version 1 or 2, holds it down.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
PERIOD = 100_000
"""Microseconds in which the share is used up, and waited for."""


def make_group(share: float) -> Path:
    """Make a group whose processes get so much of a core together; return its folder."""
    first = GROUPS / "cpu" if (GROUPS / "cpu").is_dir() else GROUPS
    group = first / f"fb-slow-{os.getpid()}"
    group.mkdir()
    quota = int(PERIOD * share)
    if first == GROUPS:
        (group / "cpu.max").write_text(f"{quota} {PERIOD}")
    else:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD))
        (group / "cpu.cfs_quota_us").write_text(str(quota))
    return group


def remove(group: Path) -> None:
    """Remove it; what the command has left behind moves out, and goes on."""
    for pid in (group / "cgroup.procs").read_text().split():
        with suppress(OSError):
            (group.parent / "cgroup.procs").write_text(pid)
    group.rmdir()


def main(share: float, command: list[str]) -> int:
    try:
        group = make_group(share)
    except OSError as error:
        print(f"No control group can be made here ({error}): Linux, as root.", file=sys.stderr)
        return 2
    began = time.monotonic()
    try:
        code = subprocess.call(
            command, preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
        )
    finally:
        remove(group)
    print(f"{time.monotonic() - began:.0f} s with {share} of a core")
    return code


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
