"""POSIX: Linux, macOS, the BSDs. What only Linux has is in `linux`."""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fbcli.platform.interface import FileWatch, RecordPipe, Request, System, Wakeup

if TYPE_CHECKING:
    import socket
    import subprocess

assert sys.platform != "win32"


class Posix(System):
    requests: Mapping[int, Request] = {
        signal.SIGTERM: Request.STOP,
        signal.SIGINT: Request.STOP,
        signal.SIGQUIT: Request.STOP_NOW,
        signal.SIGTSTP: Request.QUIET,
        signal.SIGUSR1: Request.DUMP,
        signal.SIGHUP: Request.HANG_UP,
    }
    endings: Sequence[int] = (signal.SIGTERM, signal.SIGHUP)

    own_group: Mapping[str, Any] = {"start_new_session": True}

    def __init__(self) -> None:
        self._channel = -1
        """What keeps the channel to the parent open."""

    # signals

    def leave_signals_to_parent(self) -> None:
        """Note: handlers that do nothing, rather than signals ignored, since programs that a
        function starts would go on ignoring them. Of processes that it forks the signals are
        blocked until they heed them again: one may come right away."""
        usual = {
            number: signal.signal(number, _nothing) for number in (signal.SIGTERM, signal.SIGINT)
        }

        def block() -> None:
            signal.pthread_sigmask(signal.SIG_BLOCK, usual)

        def unblock() -> None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, usual)

        def heed() -> None:
            for number, handler in usual.items():
                signal.signal(number, handler)
            unblock()

        os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=heed)

    def dump_on_request(self) -> None:
        faulthandler.register(signal.SIGUSR1)

    # forks

    def at_fork(
        self,
        *,
        before: Callable[[], object] | None = None,
        in_parent: Callable[[], object] | None = None,
        in_child: Callable[[], object] | None = None,
    ) -> None:
        hooks = {"before": before, "after_in_parent": in_parent, "after_in_child": in_child}
        os.register_at_fork(**{name: hook for name, hook in hooks.items() if hook is not None})

    # waiting

    def wait_readable(self, files: Sequence[int], seconds: float | None) -> list[int]:
        # Looked up each time: libraries of greenlets put their own in the place, and eventlet's has
        # no poll.
        if not hasattr(select, "poll"):
            return select.select(files, (), (), seconds)[0]
        poll = select.poll()
        for file in files:
            poll.register(file, select.POLLIN)
        return [file for file, _ in poll.poll(None if seconds is None else seconds * 1000)]

    def has_input(self, file: int) -> bool:
        try:
            return bool(select.select([file], [], [], 0)[0])
        except (OSError, ValueError):
            return True

    def wakeup(self) -> Wakeup:
        if sys.platform == "linux" and hasattr(os, "eventfd"):
            from fbcli.platform.linux import EventWakeup  # noqa: PLC0415  it imports ctypes

            return EventWakeup()
        from fbcli.platform.wakeup import PairWakeup  # noqa: PLC0415  it imports socket

        return PairWakeup()

    def watch_file(self, path: Path) -> FileWatch | None:
        if sys.platform == "linux" and hasattr(os, "eventfd"):
            from fbcli.platform.linux import watch_file  # noqa: PLC0415  it imports ctypes

            return watch_file(path)
        return None

    # child processes

    def check_children(self) -> None:
        """There are children."""

    def record_pipe(self) -> RecordPipe:
        from fbcli.platform.pipe import PosixPipe  # noqa: PLC0415  it imports termios and fcntl

        return PosixPipe(*os.pipe())

    def start_child(
        self,
        command: Sequence[str],
        channel: socket.socket,
        *,
        pipe: RecordPipe | None = None,
        folder: str | None = None,
    ) -> subprocess.Popen[bytes]:
        import subprocess  # noqa: PLC0415  4 ms, which whoever only pushes need not wait

        return subprocess.Popen(
            [*command, *([pipe.token] if pipe is not None else [])],
            stdin=channel.fileno(),
            pass_fds=() if pipe is None else (int(pipe.token),),
            cwd=folder,
            start_new_session=True,
        )

    def channel_to_parent(self) -> socket.socket:
        import socket  # noqa: PLC0415  as above

        channel = socket.socket(fileno=os.dup(0))
        self._channel = os.dup(0)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        return channel

    def let_go_of_parent(self, channel: socket.socket) -> None:
        os.close(channel.detach())
        os.close(self._channel)

    def inherited_pipe(self, token: str, read: Callable[[int, int], bytes] = os.read) -> RecordPipe:
        from fbcli.platform.pipe import PosixPipe  # noqa: PLC0415  as above

        inherited = int(token)
        # Unlike what was passed on to this process, a copy is not passed on to others.
        pipe = PosixPipe(os.dup(inherited), -1, read)
        os.close(inherited)
        return pipe

    def die_with_parent(self, parent: int) -> bool:
        if sys.platform == "linux":
            from fbcli.platform.linux import die_with_parent  # noqa: PLC0415  it imports ctypes

            return die_with_parent(parent)
        else:
            return False

    def follow_parent(self, channel: socket.socket) -> None:
        poll = select.poll()
        poll.register(channel, select.POLLHUP)
        while not any(event & select.POLLHUP for _, event in poll.poll()):
            pass
        os.killpg(0, signal.SIGKILL)

    def kill_group(self, pid: int) -> None:
        try:
            os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # the latter: on macOS, for one that is gone
            return

    # any process

    def parents(self) -> Iterable[tuple[int, int]]:
        return _from_proc() if Path("/proc/self/stat").exists() else _from_ps()

    def freeze(self, pid: int) -> None:
        _send(pid, signal.SIGSTOP)

    def kill(self, pid: int) -> None:
        _send(pid, signal.SIGKILL)

    def was_killed(self, exit_code: int) -> bool:
        return exit_code == -signal.SIGKILL

    def resident_bytes(self, pid: int | None = None) -> int | None:
        """Linux: proc(5), statm. Elsewhere the highest so far of this process alone is known
        (getrusage(2))."""
        try:
            pages = Path(f"/proc/{pid or 'self'}/statm").read_text().split()[1]
            return int(pages) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError):
            if pid is not None:
                return None
        import resource  # noqa: PLC0415  hardly ever needed

        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return highest if sys.platform == "darwin" else highest * 1024


def _nothing(number: int, frame: Any) -> None:
    """The parent decides."""


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
    import subprocess  # noqa: PLC0415  as in `start_child`

    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    return [(int(pid), int(parent)) for pid, parent in map(str.split, listed.splitlines())]
