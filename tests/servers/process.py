"""A server process of a test's own: started on a private loopback port in a folder of its own, and
ended by its pid."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path

from typing_extensions import Self

from tests.servers import free_port, wait_until


class ServerProcess(ABC):
    """Use as a context, or `start` and `close`."""

    name: str
    """What it is called in texts and in the name of its folder."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"fb-{self.name}-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line that serves at `port`."""

    @abstractmethod
    def answers(self) -> bool:
        """Return whether it is ready; `OSError` means that it is not."""

    def prepare(self) -> None:  # noqa: B027  most need nothing
        """Make what it needs in `folder`, before its first start."""

    @property
    def user(self) -> str | None:
        """As whom it runs, if not as who tests."""
        return None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start, and return once it answers. A port that was taken meanwhile is replaced by
        another."""
        self.prepare()
        for _ in range(5):
            with open(self.folder / "log", "ab") as log:
                self._process = process = subprocess.Popen(
                    self.command(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    user=self.user,
                    start_new_session=True,
                )
            wait_until(
                lambda process=process: process.poll() is not None or self._ready(),
                f"{self.name} at {self.port}",
            )
            if process.poll() is None:
                return self
            self.port = free_port()
        raise RuntimeError(f"{self.name} does not start: {self.log()[-2000:]}")

    def stop(self) -> None:
        """Shut down in good order (TERM)."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As by a power cut (KILL)."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start at the same port, in the same folder."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the process (STOP): connections stay open, nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ready(self) -> bool:
        try:
            return self.answers()
        except OSError:
            return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.send_signal(signal.SIGCONT)
            self._process.wait(timeout=15)
