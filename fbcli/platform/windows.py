"""Windows. What is missing says so: consumers work in one process, with threads or asyncio."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fbcli.errors import Unsupported
from fbcli.platform.interface import FileWatch, RecordPipe, Request, System, Wakeup

if TYPE_CHECKING:
    import socket
    import subprocess

SIGBREAK = 21
"""Ctrl-Break, and what service wrappers send: `signal.SIGBREAK`, which other systems lack."""
CREATE_NEW_PROCESS_GROUP = 0x200
"""A creation flag of Win32's CreateProcess: the process gets no Ctrl-C of our console."""


class Windows(System):
    requests: Mapping[int, Request] = {
        signal.SIGTERM: Request.STOP,
        signal.SIGINT: Request.STOP,
        SIGBREAK: Request.STOP,
    }
    endings: Sequence[int] = (signal.SIGTERM, SIGBREAK)

    own_group: Mapping[str, Any] = {"creationflags": CREATE_NEW_PROCESS_GROUP}

    # signals

    def leave_signals_to_parent(self) -> None:
        """A child of a group of its own gets none (see `own_group`)."""

    def dump_on_request(self) -> None:
        """There is no signal for it."""

    # forks

    def at_fork(
        self,
        *,
        before: Callable[[], object] | None = None,
        in_parent: Callable[[], object] | None = None,
        in_child: Callable[[], object] | None = None,
    ) -> None:
        """There are no forks."""

    # waiting

    def wait_readable(self, files: Sequence[int], seconds: float | None) -> list[int]:
        return select.select(files, (), (), seconds)[0]

    def has_input(self, file: int) -> bool:
        return True

    def wakeup(self) -> Wakeup:
        from fbcli.platform.wakeup import PairWakeup  # noqa: PLC0415  it imports socket

        return PairWakeup()

    def watch_file(self, path: Path) -> FileWatch | None:
        return None

    # child processes

    def check_children(self) -> None:
        _no_children()

    def record_pipe(self) -> RecordPipe:
        _no_children()

    def start_child(
        self,
        command: Sequence[str],
        channel: socket.socket,
        *,
        pipe: RecordPipe | None = None,
        folder: str | None = None,
    ) -> subprocess.Popen[bytes]:
        _no_children()

    def channel_to_parent(self) -> socket.socket:
        _no_children()

    def let_go_of_parent(self, channel: socket.socket) -> None:
        """There are no forks."""

    def inherited_pipe(self, token: str, read: Callable[[int, int], bytes] = os.read) -> RecordPipe:
        _no_children()

    def die_with_parent(self, parent: int) -> bool:
        _no_children()

    def follow_parent(self, channel: socket.socket) -> None:
        _no_children()

    def kill_group(self, pid: int) -> None:
        _no_children()

    # any process

    def parents(self) -> Iterable[tuple[int, int]]:
        raise Unsupported(
            "fb chaos cannot tell yet whose child a process is on Windows. Run it on Linux or"
            " macOS."
        )

    def freeze(self, pid: int) -> None:
        """It can be killed as it is."""

    def kill(self, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGTERM)  # TerminateProcess, with this number as its exit code
        except OSError:
            return

    def was_killed(self, exit_code: int) -> bool:
        return exit_code == signal.SIGTERM

    def resident_bytes(self, pid: int | None = None) -> int | None:
        return None


def _no_children() -> NoReturn:
    raise Unsupported(
        "Child processes do not work on Windows yet. Use --mode threads, asyncio or solo, without"
        " --processes and --max-memory; to use more cores, start fb consume several times."
    )
