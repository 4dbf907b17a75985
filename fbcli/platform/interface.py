"""The one interface to the operating system. What a system cannot do (yet) raises `Unsupported`
with a sentence; what it need not do does nothing.

Light to import, as its implementations are: `fb push` imports it.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import socket
    import subprocess


class Request(Enum):
    """What a signal asks of a process that consumes."""

    STOP = "stop"
    """End in order."""
    STOP_NOW = "stop now"
    QUIET = "quiet"
    """Take no more work, but stay."""
    DUMP = "dump"
    """Log what runs."""
    HANG_UP = "hang up"
    """The terminal was closed; without a terminal: begin anew."""


class Wakeup(Protocol):
    """Ends a wait for descriptors: readable from `ring` to `silence`."""

    def fileno(self) -> int: ...

    def ring(self) -> None:
        """From any thread, as often as one likes; also when it was closed."""

    def silence(self) -> None:
        """Forget that it rang. By whoever waits."""

    def close(self) -> None:
        """Idempotent. Not while anybody waits."""


class FileWatch(Protocol):
    """Hears at once when any process writes to one file. Used by one thread; `ring` by any."""

    def ring(self) -> None:
        """End the wait, or the next one."""

    def wait(self, seconds: float) -> bool:
        """Wait until the file is written to or it rings, at most so long; return whether the file
        was written to."""

    def is_stale(self) -> bool:
        """Whether the file is not the one any more that has this name."""


class RecordPipe(Protocol):
    """A pipe of small records, which nobody ever waits for in a read or write.

    The process that made it and the child that was started with it both read from it: each record
    goes to one of them, whole, whatever the child is busy with or has died of.
    """

    token: str
    """By which the child finds it: for its command line."""

    def write(self, records: bytes) -> bool:
        """Return whether there was room for them, all or none. At most `MOST_BYTES` at once."""

    def read(self, size: int) -> bytes:
        """Return what there is, at most `size` bytes; nothing: there will be no more. Raises
        `BlockingIOError` while there is nothing yet."""

    def unread(self) -> int:
        """Count the bytes that are in it."""

    def wait(self) -> None:
        """Wait until there is something, or the end."""

    def finish(self) -> None:
        """Say that there will be no more. Idempotent."""

    def close(self) -> None:
        """Idempotent."""


MOST_BYTES = 4096
"""Bytes that every system's pipe takes whole or not at all (PIPE_BUF of pipe(7))."""


class System(ABC):
    """An operating system."""

    # signals

    requests: Mapping[int, Request]
    """What each signal that this system has asks of a consumer."""

    endings: Sequence[int]
    """The signals, beside that of Ctrl-C, that ask any process to end."""

    @abstractmethod
    def leave_signals_to_parent(self) -> None:
        """Be deaf for requests to end: they are meant for the parent, who decides. What this
        process forks or starts from here on heeds them again."""

    @abstractmethod
    def dump_on_request(self) -> None:
        """Write all stacks to stderr when asked to `DUMP`, whatever the main thread is doing."""

    # forks

    @abstractmethod
    def at_fork(
        self,
        *,
        before: Callable[[], object] | None = None,
        in_parent: Callable[[], object] | None = None,
        in_child: Callable[[], object] | None = None,
    ) -> None:
        """Have these called around each fork from here on (os.register_at_fork)."""

    # waiting

    @abstractmethod
    def wait_readable(self, files: Sequence[int], seconds: float | None) -> list[int]:
        """Wait until one of these descriptors has something to read, or its end; at most so long,
        None: for ever. Return which of them do. On Windows they must be those of sockets."""

    @abstractmethod
    def has_input(self, file: int) -> bool:
        """Whether reading from this descriptor would not wait; True where nobody can tell."""

    @abstractmethod
    def wakeup(self) -> Wakeup:
        """Return one that nobody has rung. Raises `OSError` when there are no more descriptors."""

    @abstractmethod
    def watch_file(self, path: Path) -> FileWatch | None:
        """Return a watch at the file; None: there is no such file yet, or the system has nothing of
        the kind (or no more of it), and one has to poll."""

    # child processes

    own_group: Mapping[str, Any]
    """Arguments of `subprocess.Popen` that keep the signals of our terminal from a process, and
    make one group of it and all that it starts."""

    @abstractmethod
    def check_children(self) -> None:
        """Raise `Unsupported` where `start_child` does."""

    @abstractmethod
    def record_pipe(self) -> RecordPipe: ...

    @abstractmethod
    def start_child(
        self,
        command: Sequence[str],
        channel: socket.socket,
        *,
        pipe: RecordPipe | None = None,
        folder: str | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process with an `own_group`, whose `channel_to_parent` is `channel`.

        `pipe` is passed on to it, its token put behind the command. `folder` is where it works.
        Raises `OSError` when there is no room for another process.
        """

    @abstractmethod
    def channel_to_parent(self) -> socket.socket:
        """In such a child, once: return its channel. It stays open until the process is gone,
        whatever becomes of what is returned, and no process that it starts has it."""

    @abstractmethod
    def let_go_of_parent(self, channel: socket.socket) -> None:
        """In a process that such a child has forked: close all that it has of the channel."""

    @abstractmethod
    def inherited_pipe(self, token: str, read: Callable[[int, int], bytes] = os.read) -> RecordPipe:
        """In such a child: return the pipe it was started with. `read`: what reads a descriptor
        without ever waiting, where `os.read` does not."""

    @abstractmethod
    def die_with_parent(self, parent: int) -> bool:
        """Have the system kill this process when its parent, of this process id, ends in whatever
        way; False: it cannot, see `follow_parent`."""

    @abstractmethod
    def follow_parent(self, channel: socket.socket) -> None:
        """Wait until the parent has closed its end, then end this process and all that it has
        started. For a thread of its own."""

    @abstractmethod
    def kill_group(self, pid: int) -> None:
        """End a child with an `own_group` at once, with all that it has started; nothing for one
        that is gone."""

    # any process

    @abstractmethod
    def parents(self) -> Iterable[tuple[int, int]]:
        """Return the process id of each process on this host, and that of its parent."""

    @abstractmethod
    def freeze(self, pid: int) -> None:
        """Let a process do nothing more, until it is killed. Nothing for one that is gone."""

    @abstractmethod
    def kill(self, pid: int) -> None:
        """End a process at once. Nothing for one that is gone."""

    @abstractmethod
    def was_killed(self, exit_code: int) -> bool:
        """Whether a process that left this exit code (of `subprocess`) was ended by `kill`."""

    @abstractmethod
    def resident_bytes(self, pid: int | None = None) -> int | None:
        """Return the resident set size of a process (None: of this one) in bytes; None where the
        system does not tell, or there is no such process."""
