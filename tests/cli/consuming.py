"""Consumers in the background, as processes of their own."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from typing_extensions import Self

from fbcli.settings import load
from tests.cli.shell import Shell
from tests.installed import FB, PATIENCE
from tests.servers import wait_until


class Consuming:
    """`fb consume` in the background, its streams in files. Use as a context: what is left over is
    killed."""

    _numbers = itertools.count()

    def __init__(self, fb: Shell, *words: str, env: dict[str, str] | None = None) -> None:
        number = next(self._numbers)
        self._out, self._err = fb.folder / f"out-{number}", fb.folder / f"err-{number}"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [FB, "consume", *words],
                cwd=fb.folder,
                env={**fb.env, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def out(self) -> str:
        """What it has written to stdout so far."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it has written to stderr so far."""
        return self._err.read_text()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The whole lines on stdout, which must be JSON objects."""
        found = [
            json.loads(line) for line in self.out.splitlines(keepends=True) if line.endswith("\n")
        ]
        assert all(type(event) is dict for event in found), found
        return found

    def says(self, text: str) -> bool:
        """Whether stderr has this text by now."""
        return text in self.err

    def children(self) -> list[int]:
        """The process ids of its child processes."""
        pid = self.process.pid
        with contextlib.suppress(OSError):
            return [
                int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            ]
        return []

    def until(self, condition: Any, what: str) -> None:
        """Wait for a condition while it lives; what it said is part of the failure."""
        try:
            wait_until(lambda: condition() or self.process.poll() is not None, what)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.err}") from None
        assert condition(), f"it ended with {self.process.returncode} before {what}:\n{self.err}"

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end; return its exit code."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end:\n{self.err}") from None

    def stop(self) -> int:
        """Stop it as a service manager does; return its exit code."""
        self.send(signal.SIGTERM)
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        children = self.children()
        self.process.kill()
        self.process.wait()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def consuming(fb: Shell, *addresses: str) -> None:
    """Start a consumer and return once it is at work."""
    fb.start("consume", *addresses)
    store = load(fb.folder, fb.env).open_store()
    names = {address.replace(":", ".") for address in addresses}
    try:
        wait_until(
            lambda: names <= {record.queue for record in store.consumers()},
            "the consumer",
            30,
        )
    finally:
        store.close()
