"""Consumers as a user starts them, killed as nobody should; and the count of what they did."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import wait_until

HERE = Path(__file__).parent


@dataclass
class Run:
    """One execution of one task."""

    pid: int
    begun: float
    ended: float | None = None


@dataclass
class Fleet:
    """A project folder with the module `deeds`, a broker, and what was started there."""

    folder: Path
    broker: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        shutil.copy(HERE / "deeds.py", self.folder / "deeds.py")
        self.log = self.folder / "deeds.log"
        self.log.touch()

    @property
    def environment(self) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("FB_")}
        return {**plain, "DEEDS": str(self.log), "FB_BROKER": self.broker}

    def fb(self, *arguments: str, stdin: str | None = None) -> str:
        """Run a command to its end; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "fbcli", *arguments],
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def push(self, function: str, numbers: range, **arguments: float) -> None:
        more = "".join(f', "{name}": {value}' for name, value in arguments.items())
        lines = "".join(f'{{"number": {number}{more}}}\n' for number in numbers)
        self.fb("push", f"deeds:{function}", "-", stdin=lines)

    def consume(self, function: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a consumer in a session of its own; its log goes to `consumer.log`."""
        with open(self.folder / "consumer.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "fbcli", "consume", f"deeds:{function}", *options],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def runs(self) -> dict[int, list[Run]]:
        """Return all executions by number, in order of their begin."""
        found: dict[int, list[Run]] = {}
        for line in self.log.read_text().splitlines():
            what, number, pid, at = line.split()
            if what == "begin":
                found.setdefault(int(number), []).append(Run(int(pid), float(at)))
            else:
                mine = [run for run in found[int(number)] if run.pid == int(pid) and run.ended is None]
                mine[-1].ended = float(at)
        return found

    def ended(self) -> set[int]:
        return {number for number, runs in self.runs().items() if any(run.ended for run in runs)}

    def wait_for(self, count: int, timeout: float = 60.0) -> None:
        try:
            wait_until(lambda: len(self.ended()) >= count, f"{count} tasks to end", timeout)
        except TimeoutError as error:
            alive = [process.pid for process in self.processes if process.poll() is None]
            raise AssertionError(f"{error}; {len(self.ended())} have; alive: {alive}\n{self.log_text()[-4000:]}") from None

    def size(self) -> dict[str, int]:
        (line,) = [json.loads(line) for line in self.fb("queues", "--json").splitlines() if "deeds" in line] or [{}]
        return {name: line.get(name) or 0 for name in ("ready", "in_flight", "delayed", "dead")}

    def end(self) -> None:
        """Kill what still lives, by pid."""
        for process in self.processes:
            if process.poll() is None:
                kill_tree(process)

    def log_text(self) -> str:
        return (self.folder / "consumer.log").read_text()


def children_of(pid: int) -> list[int]:
    """Return the process ids of the children, grandchildren and so on."""
    try:
        direct = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [*direct, *(grandchild for child in direct for grandchild in children_of(child))]


def kill_tree(process: subprocess.Popen[bytes]) -> list[int]:
    """kill -9 of a process and all below it; return their pids."""
    pids = [process.pid, *children_of(process.pid)]
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()
    return pids
