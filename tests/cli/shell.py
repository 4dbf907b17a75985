"""The installed `fb`, run as a user runs it: a subprocess in a fresh folder with a small module,
and no FB_… variable."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from tests.cli.forkserver import fork_server
from tests.installed import FB, PATIENCE, clean_environment

MODULE = '''\
"""A user's module: nothing in it knows of fbcli."""

import asyncio


def add(x: int, y: int = 2) -> int:
    return x + y


def echo(value=None):
    return value


def fails(text: str = "no") -> None:
    raise ValueError(text)


async def slow(seconds: float = 0.0) -> dict:
    await asyncio.sleep(seconds)
    return {"slept": seconds}
'''


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines of stdout."""
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        """The one JSON value on stdout."""
        return json.loads(self.out)

    @property
    def objects(self) -> list[Any]:
        """The JSON values on stdout, one a line."""
        return [json.loads(line) for line in self.lines]


class Shell:
    """Runs `fb` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = clean_environment(folder / "home", PYTHONDONTWRITEBYTECODE="1")
        self._children: list[subprocess.Popen[str]] = []

    def __call__(
        self, *words: str, input: str | bytes = "", env: dict[str, str] | None = None
    ) -> Ran:
        """Run `fb` to its end."""
        environment = {**self.env, **(env or {})}
        given = input.encode() if isinstance(input, str) else input
        server = None if _is_for_python(environment) else fork_server()
        if server is None:
            ended = subprocess.run(
                [FB, *words],
                cwd=self.folder,
                env=environment,
                input=given,
                capture_output=True,
                timeout=PATIENCE,
            )
            return Ran(ended.returncode, ended.stdout.decode(), ended.stderr.decode())
        with _piped(given) as stdin, TemporaryFile() as out, TemporaryFile() as err:
            streams = (stdin, out.fileno(), err.fileno())
            code = server.run(words, self.folder, environment, streams, PATIENCE)
            out.seek(0)
            err.seek(0)
            return Ran(code, out.read().decode(), err.read().decode())

    def ok(self, *words: str, input: str | bytes = "", env: dict[str, str] | None = None) -> Ran:
        """Run `fb`, which must succeed."""
        ran = self(*words, input=input, env=env)
        assert ran.code == 0, ran
        return ran

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `fb` with pipes to it; whoever is left over at the end of the test is killed."""
        pipe = subprocess.PIPE
        child = subprocess.Popen(
            [FB, *words],
            cwd=self.folder,
            env=self.env,
            text=True,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
        )
        self._children.append(child)
        return child

    def at_terminal(self, *words: str, keys: str = "", env: dict[str, str] | None = None) -> Ran:
        """Run `fb` at a terminal of 80 columns and type `keys`; all that it prints is in `out`."""
        ours, theirs = pty.openpty()
        try:
            environment = {**self.env, "TERM": "xterm-256color", "COLUMNS": "80", **(env or {})}
            child = subprocess.Popen(
                [FB, *words],
                cwd=self.folder,
                env=environment,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
            os.close(theirs)
            os.write(ours, keys.encode())
            shown = b"".join(_shown(ours))
            return Ran(child.wait(PATIENCE), shown.decode().replace("\r\n", "\n"), "")
        finally:
            os.close(ours)

    def write(self, name: str, text: str) -> Path:
        """Write a file into the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def close(self) -> None:
        """Kill what was left over."""
        for child in self._children:
            child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()


def _is_for_python(env: dict[str, str]) -> bool:
    """Whether the interpreter itself has to read this environment at its start."""
    names = {name for name in env if name.startswith("PYTHON")}
    return names > {"PYTHONDONTWRITEBYTECODE"}


@contextlib.contextmanager
def _piped(given: bytes) -> Iterator[int]:
    """A pipe from which `given` can be read."""
    theirs, ours = os.pipe()

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), open(ours, "wb") as stream:
            stream.write(given)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield theirs
    finally:
        os.close(theirs)
        writer.join()


def _shown(terminal: int) -> Iterator[bytes]:
    while select.select([terminal], [], [], PATIENCE)[0]:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux says EIO when the last process has left the terminal
            return
        if not piece:
            return
        yield piece
