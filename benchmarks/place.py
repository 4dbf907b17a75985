"""Where benchmarks run: a private redis-server, a temporary folder for SQLite files, and clean
processes of their own."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from benchmarks.figures import Missing
from tests.servers.redis import RedisServer

ROOT = Path(__file__).resolve().parent.parent


class Took(NamedTuple):
    """What a command took."""

    seconds: float
    cpu: float
    """Seconds of processor, its children included: what it takes on a machine that has nothing else
    to do, or nearly."""


class Place:
    """`with Place() as place: … place.redis() … place.run("module:function", x=1)`"""

    def __init__(self, *, quick: bool = False, deep: int | None = None) -> None:
        self.quick = quick
        self.deep = deep
        """How many messages a deep queue holds; None: what each benchmark takes by itself."""
        self.folder = Path(tempfile.mkdtemp(prefix="fb-bench-"))
        self._server = RedisServer()
        self._numbers = itertools.count()

    def __enter__(self) -> Place:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def scaled(self, full: int, quick: int | None = None) -> int:
        """How many messages to use: `full`, or in a quick run `quick` (by default a fifth)."""
        return (quick or max(1, full // 5)) if self.quick else full

    def redis(self) -> str:
        """Empty the server and return its URL."""
        self._server.ask("FLUSHALL")
        return self._server.url

    def sqlite(self) -> str:
        """Return the URL of a database that does not exist yet, in a folder of its own."""
        folder = self.folder / f"db{next(self._numbers)}"
        folder.mkdir()
        return f"sqlite:///{folder}/queue.db"

    def fresh(self, kind: str) -> str:
        """Return the URL of an empty broker: `redis` or `sqlite`."""
        return self.redis() if kind == "redis" else self.sqlite()

    def run(self, target: str, **arguments: Any) -> dict[str, float]:
        """Call `target` (`module:function`) in a fresh process; return what it returned."""
        return self.run_together(target, [arguments])[0]

    def run_together(
        self, target: str, each: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, float]]:
        """Call `target` in as many processes at once as there are sets of arguments; none begins
        before all are ready."""
        outs = [self.folder / f"out{next(self._numbers)}.json" for _ in each]
        log = self.folder / "child.log"
        with log.open("wb") as errors:
            children = [
                self.start(
                    sys.executable,
                    "-m",
                    "benchmarks.child",
                    out,
                    target,
                    json.dumps(arguments),
                    stderr=errors,
                )
                for out, arguments in zip(outs, each, strict=True)
            ]
            try:
                for child in children:
                    while child.stdout.readline() not in (b"ready\n", b""):
                        pass
                for child in children:
                    child.stdin.write(b"\n")
                    child.stdin.flush()
                for child in children:
                    child.communicate(timeout=600)
            finally:
                for child in children:
                    end(child)
        if any(child.returncode for child in children):
            raise RuntimeError(f"{target} failed:\n{log.read_text()[-3000:]}")
        return [json.loads(out.read_text()) for out in outs]

    def start(
        self,
        *command: str | Path,
        stdin: int | IO[bytes] = subprocess.PIPE,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.DEVNULL,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process in the temporary folder, without any FB_… variable or settings file of
        the user."""
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=self.folder,
            env={**self.environment(), **(env or {})},
            start_new_session=True,
        )

    def fb(self, *words: str, stdin: bytes = b"") -> Took:
        """Run `fb` to its end, which must be a good one."""
        return self.timed(fb_command(), *words, stdin=stdin)

    def timed(self, *command: str | Path, stdin: bytes = b"") -> Took:
        """Run a command to its end, from before its start until after its exit. Raises
        `RuntimeError` when it fails."""
        source = self.folder / "stdin"
        source.write_bytes(stdin)
        log = self.folder / "command.log"
        with source.open("rb") as reader, log.open("wb") as errors:
            begun = time.monotonic()
            process = self.start(*command, stdin=reader, stdout=errors, stderr=errors)
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            words = " ".join(map(str, command))
            raise RuntimeError(
                f"{words} ended with {process.returncode}:\n{log.read_text()[-3000:]}"
            )
        return Took(seconds, used.ru_utime + used.ru_stime)

    def environment(self) -> dict[str, str]:
        """That of this process, without what would make `fb` slower than it is where it is
        installed: modules are compiled once, not at each start."""
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("FB_") and name != "PYTHONDONTWRITEBYTECODE"
        }
        return {
            **clean,
            "PYTHONPATH": str(ROOT),
            "XDG_CONFIG_HOME": str(self.folder),
            "NO_COLOR": "1",
        }


def end(process: subprocess.Popen[bytes], timeout: float = 15.0) -> None:
    """Stop a process in order, and by force when it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def fb_command() -> Path:
    """Return the installed `fb` of this very interpreter."""
    command = Path(sys.executable).parent / "fb"
    if not command.exists():
        raise Missing(f"There is no {command}: pip install -e '.[all]'")
    return command
