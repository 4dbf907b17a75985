"""The processes of a trial: started in a folder of its own, and killed with all below them.

Kills none but those it has started and their descendants. When the trial itself is killed, a
process of its own, the guard, does that: a pipe tells it whom, by `+PID` and `-PID`, a line each,
and it kills those that are left at the end of it.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from fbcli.chaos.ledger import FOLDER
from fbcli.clock import Clock
from fbcli.errors import ExitCode, FbError
from fbcli.platform import system
from fbcli.processes.command import python_command
from fbcli.processes.restarts import Restarts
from fbcli.settings import FILE, Settings

TRIES = 5
"""After so many ends in a row that nobody asked for, with no progress between them, there is no use
in another start."""

LAST_WORDS = 2000
"""Characters of a log that are shown when those who wrote it do not stay alive."""


class TrialFolder:
    """Holds the ledger, logs, and settings of its own, so that only what the trial says holds for
    the children."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        (folder / FILE).touch()
        self.environment = environment(settings, folder, os.environ)

    def start(
        self, log: str, entry: str, *words: str, stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """Start a process that calls `entry`, a function of fbcli, with these words as its
        arguments, in a group of its own; what it prints goes to a file."""
        with open(self.folder / log, "ab") as file:
            return subprocess.Popen(
                python_command(entry, *words),
                cwd=self.folder,
                env=self.environment,
                stdin=stdin,
                stdout=file,
                stderr=file,
                **system.own_group,
            )

    def last_words(self, log: str) -> str:
        """Return the end of a log."""
        return (self.folder / log).read_text(errors="replace")[-LAST_WORDS:].strip()


def environment(settings: Settings, ledger: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the children: of fb's own variables only where broker, store and
    ledger are.

    URLs may hold passwords, and a command line can be read by everyone on the host.
    """
    plain = {name: value for name, value in inherited.items() if not name.startswith("FB_")}
    own = {
        "FB_BROKER": settings.broker_url,
        "FB_STORE": settings.store_url,
        FOLDER: str(ledger),
        "XDG_CONFIG_HOME": str(ledger),
    }
    return {**plain, **own}


class Endings:
    """Notices when those who end by themselves will not stop doing so."""

    def __init__(self, who: str, home: TrialFolder, log: str) -> None:
        self._who = who
        self._home = home
        self._log = log
        self._restarts = Restarts(TRIES, for_good=False)
        self._progress = 0

    def ended(self, code: int, progress: int) -> None:
        """One has ended that nobody asked to; `progress` grows while there is any. Raises `FbError`
        when it is hopeless."""
        if progress != self._progress:
            self._progress = progress
            self._restarts.worked()
        self._restarts.failed(0.0)
        if self._restarts.hopeless:
            raise FbError(
                f"The {self._who} do not stay alive: {TRIES} have ended one after the other,"
                f" the last with exit code {code}. Its last"
                f" words:\n{self._home.last_words(self._log)}"
            )


MOST_ROUNDS = 20
"""How often a tree is looked at anew before it is killed; what is stopped starts nothing more, so
two or three are enough."""

ChildrenOf = Mapping[int, list[int]]
"""Process id -> those of its children."""


def children_of_all() -> ChildrenOf:
    """Return who is whose child on this host, now. Raises `Unsupported`."""
    children: dict[int, list[int]] = {}
    for pid, parent in system.parents():
        children.setdefault(parent, []).append(pid)
    return children


def descendants(pid: int, known: ChildrenOf | None = None) -> list[int]:
    """Return the process ids of the children, grandchildren and so on."""
    children = children_of_all() if known is None else known
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


class Guard:
    """The trial's side."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            python_command("fbcli.chaos.processes:guard"),
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


def guard() -> None:
    """Read to the end, then kill who is left."""
    left: set[int] = set()
    for line in sys.stdin:
        if line.endswith("\n"):
            (left.add if line[0] == "+" else left.discard)(int(line[1:]))
    for pid in left:
        kill_tree(pid)


KillOne = Callable[[random.Random], bool]
"""Kills one; False: there is none to be killed now."""


class RandomKills:
    """Kills every so many seconds in the mean (0: never); the gaps are as random as those of
    accidents (exponential)."""

    def __init__(
        self,
        every: float,
        consumers: KillOne,
        producers: KillOne,
        chance: random.Random,
        clock: Clock,
    ) -> None:
        self._every, self._chance, self._clock = every, chance, clock
        self._consumers, self._producers = consumers, producers
        self._turns: list[bool] = []
        """Whose turn is next, from the end: True is a producer's."""
        self._at = clock.monotonic() + self._gap()

    def tick(self) -> None:
        """Kill when it is time. When nobody is at work, time begins anew: whoever comes next shall
        live as long as the others. With no producer left it is a consumer's turn."""
        if not self._every or self._clock.monotonic() < self._at:
            return
        if not self._turns:
            self._turns = [False, False, True]
            self._chance.shuffle(self._turns)
        if (self._turns[-1] and self._producers(self._chance)) or self._consumers(self._chance):
            self._turns.pop()
        self._at = self._clock.monotonic() + self._gap()

    def _gap(self) -> float:
        return self._chance.expovariate(1 / self._every) if self._every else 0.0


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Have TERM and HUP end this process as Ctrl-C does: not before it has cleaned up."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(ExitCode.TERMINATED)

    numbers = [
        number for number in system.endings if signal.getsignal(number) != signal.SIG_IGN
    ]  # nohup
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
