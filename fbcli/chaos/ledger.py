"""What really happened, written down by those who did it: calls by the functions, pushes by the
producers.

Each process appends to a file of its own, a line for each record, by one `write`: a process that is
killed leaves whole lines, but for its last one, which then counts as not written. Times are Unix
seconds of this host (CLOCK_REALTIME).

    calls/4711-a3f0c2    begin NUMBER CALL TIME FATE SECONDS  |  end NUMBER CALL TIME  |  fail …
                         |  kill …
    pushes/4712-99b1e7   try NUMBER,NUMBER,… TIME  |  sure NUMBER,NUMBER,… TIME
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fbcli.chaos.plan import END, TrialTask
from fbcli.clock import SYSTEM

FOLDER = "FB_CHAOS_LEDGER"
"""The variable that names the ledger's folder."""

CALLS, PUSHES = "calls", "pushes"

_OWN = os.urandom(3).hex()
"""Tells this process from another one that had its process id before."""


@dataclass(slots=True)
class Execution:
    """One execution of one task. It has been cut short when it has neither `ended` nor `failed`."""

    number: int
    pid: int
    begun: float
    fate: str = END
    seconds: float = 0.0
    """As its message said."""
    ended: float | None = None
    failed: float | None = None
    killed: float | None = None
    """When it killed its own process."""

    @property
    def cut(self) -> bool:
        return self.ended is None and self.failed is None


@dataclass(slots=True)
class Push:
    """What became of publishing one task."""

    tries: int = 0
    """How often it was handed to the broker; each of them may have arrived."""
    confirmed: float | None = None
    """When the broker had first confirmed it."""


def note(kind: str, what: str, *words: object) -> None:
    """Append a record to the ledger that the environment names. Raises `OSError` when it cannot be
    written."""
    path = os.path.join(os.environ[FOLDER], kind, f"{os.getpid()}-{_OWN}")
    line = " ".join(map(str, (what, *words))) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def now() -> str:
    """Return the time as it is written."""
    return f"{SYSTEM.now():.6f}"


class Ledger:
    """Reads what others write into a folder, and what has come since."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: dict[int, list[Execution]] = {}
        """By the number of the task."""
        self.pushes: dict[int, Push] = {}
        self.ended: set[int] = set()
        """The tasks of which a call has ended."""
        self.confirmed: set[int] = set()
        """The tasks whose publishing was confirmed."""
        self.at_work: set[int] = set()
        """The process ids of all that have written anything."""
        self._read: dict[str, int] = {}
        self._open: dict[tuple[str, int], Execution] = {}
        for kind in (CALLS, PUSHES):
            (folder / kind).mkdir(parents=True, exist_ok=True)

    def read(self) -> bool:
        """Take in what is new; return whether there was anything."""
        news = False
        for line, name in self._lines(CALLS):
            self._note_call(line, name)
            news = True
        for line, name in self._lines(PUSHES):
            self._note_push(line, name)
            news = True
        return news

    def _lines(self, kind: str) -> Iterator[tuple[list[str], str]]:
        for entry in os.scandir(self.folder / kind):
            begin = self._read.get(entry.path, 0)
            if os.stat(entry.path).st_size <= begin:
                continue
            with open(entry.path, "rb") as file:
                file.seek(begin)
                text = file.read()
            whole = text.rfind(b"\n") + 1
            self._read[entry.path] = begin + whole
            for line in text[:whole].decode().splitlines():
                yield line.split(), entry.name

    def _note_call(self, line: list[str], process: str) -> None:
        what, number, call, at, *rest = line
        if what == "begin":
            fate, seconds = rest
            pid = int(process.partition("-")[0])
            begun = Execution(int(number), pid, float(at), fate, float(seconds))
            self.at_work.add(pid)
            self.calls.setdefault(begun.number, []).append(begun)
            self._open[process, int(call)] = begun
            return
        closed = self._open[process, int(call)]
        if what == "end":
            closed.ended = float(at)
            self.ended.add(closed.number)
        elif what == "fail":
            closed.failed = float(at)
        else:
            closed.killed = float(at)

    def _note_push(self, line: list[str], process: str) -> None:
        what, numbers, at = line
        self.at_work.add(int(process.partition("-")[0]))
        for number in map(int, numbers.split(",")):
            push = self.pushes.setdefault(number, Push())
            if what == "try":
                push.tries += 1
            elif push.confirmed is None:
                push.confirmed = float(at)
                self.confirmed.add(number)


@dataclass(frozen=True)
class Kill:
    """One end by force. `what`: a `consumer` or `producer` killed by the trial, a `task` that
    killed its process, or a consumer that ended by `itself`."""

    at: float
    pids: frozenset[int]
    what: str


@dataclass(frozen=True)
class BrokerOutage:
    """A time without the broker (Unix seconds)."""

    began: float
    ended: float


@dataclass(frozen=True)
class Buried:
    """A dead letter. None: it does not tell."""

    number: int | None
    deliveries: int | None = None


@dataclass(frozen=True)
class Evidence:
    """All that is known of a trial when it is over."""

    tasks: Sequence[TrialTask]
    """By their numbers."""
    calls: Mapping[int, Sequence[Execution]] = field(default_factory=dict)
    pushes: Mapping[int, Push] = field(default_factory=dict)
    kills: Sequence[Kill] = ()
    outages: Sequence[BrokerOutage] = ()
    buried: Sequence[Buried] = ()
    max_deliveries: int = 20
