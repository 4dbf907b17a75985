"""Consumers as a user starts them, killed as nobody should; and what they did. The functions, the
ledger and the killing are those of `fb chaos`; what is here lets a test decide who dies when."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from fbcli.chaos.ledger import Execution, Ledger
from fbcli.chaos.processes import TrialFolder, kill_child
from fbcli.settings import load
from tests.servers import wait_until

LOG = "consumer.log"


@dataclass
class Fleet:
    """A folder with a ledger, a broker, and what was started there."""

    folder: Path
    broker: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home = TrialFolder(
            self.folder, load(self.folder, {"HOME": str(self.folder)}, broker=self.broker)
        )
        self.ledger = Ledger(self.folder)

    def fb(self, *arguments: str, stdin: str | None = None) -> str:
        """Run a command to its end; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "fbcli", *arguments],
            cwd=self.folder,
            env=self.home.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def push(self, function: str, numbers: range, **arguments: float) -> None:
        lines = "".join(json.dumps({"number": number, **arguments}) + "\n" for number in numbers)
        self.fb("push", address(function), "-", stdin=lines)

    def consume(self, function: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a consumer in a session of its own; its log goes to a file."""
        process = self.home.start(
            LOG, "fbcli.commands.app:main", "consume", address(function), *options
        )
        self.processes.append(process)
        return process

    def calls(self) -> dict[int, list[Execution]]:
        """Return all calls by number, in order of their begin."""
        self.ledger.read()
        return {
            number: sorted(calls, key=lambda call: call.begun)
            for number, calls in self.ledger.calls.items()
        }

    def ended(self) -> set[int]:
        self.ledger.read()
        return set(self.ledger.ended)

    def wait_for(self, count: int, timeout: float = 60.0) -> None:
        try:
            wait_until(lambda: len(self.ended()) >= count, f"{count} tasks to end", timeout)
        except TimeoutError as error:
            alive = [process.pid for process in self.processes if process.poll() is None]
            raise AssertionError(
                f"{error}; {len(self.ended())} have; alive: {alive}\n{self.log_text()[-4000:]}"
            ) from None

    def size(self) -> dict[str, int]:
        (line,) = [
            json.loads(line) for line in self.fb("queues", "--json").splitlines() if "tasks" in line
        ] or [{}]
        return {name: line.get(name) or 0 for name in ("ready", "in_flight", "delayed", "dead")}

    def end(self) -> None:
        """Kill what still lives, by pid."""
        for process in self.processes:
            kill_child(process)

    def log_text(self) -> str:
        return (self.folder / LOG).read_text()


def address(function: str) -> str:
    """Return where one of the functions lives."""
    return f"fbcli.chaos.tasks:{function}"
