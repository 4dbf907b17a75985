"""Against what a user would pick instead: the same function, the same Redis, one process,
acknowledged as each offers it.

`FB_BENCH_PEERS=/path/to/venv/bin/python` names the interpreter that has them (pip install
'celery[redis]' 'dramatiq[redis]' rq taskiq taskiq-redis funboost); by default it is this one. A
peer that is not there is skipped with a sentence.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.figures import OURS, Benchmark, Figure, Missing
from benchmarks.place import ROOT, Place, fb_command

LIMIT = 120.0
"""Seconds after which a peer that has not finished is given up."""

PYTHON = os.environ.get("FB_BENCH_PEERS", sys.executable)

PEERS = {"celery": 4_000, "dramatiq": 10_000, "rq": 2_000, "taskiq": 8_000, "funboost": 5_000}
"""How many messages each gets, so that a run takes some seconds."""
OUR_COUNT = 100_000


def ours(place: Place) -> Mapping[str, float]:
    url, address, count = place.redis(), "benchmarks.peers.tally:add", place.scaled(OUR_COUNT)
    words = ["--broker", url, "--store", url]
    consume = [str(fb_command()), "consume", address, *words]
    return _measured(place, [sys.executable, "-m", "benchmarks.peers.fb"], consume, url, count)


def peer(place: Place, name: str) -> Mapping[str, float]:
    probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"
    if subprocess.run(
        [PYTHON, "-c", probe], capture_output=True, cwd=_own_folder(place), check=False
    ).returncode:
        raise Missing(
            f"{PYTHON} has no {name}; set FB_BENCH_PEERS to the python of a virtual environment"
            " that has it"
        )
    url, count = place.redis(), place.scaled(PEERS[name])
    module = [PYTHON, "-m", f"benchmarks.peers.{name}"]
    return _measured(place, module, [*module, "consume", url], url, count)


def _measured(
    place: Place, pusher: list[str], consume: list[str], url: str, count: int
) -> Mapping[str, float]:
    """Push one by one, then start the consumer; its function tells when it was called first and
    last."""
    folder = _own_folder(place)
    pushed, out = folder / "pushed.json", folder / "calls.json"
    env = {
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
        "HOME": str(folder),
        "BENCH_URL": url,
        "BENCH_COUNT": str(count),
        "BENCH_OUT": str(out),
        "BENCH_PUSHED": str(pushed),
    }
    with (folder / "log").open("wb") as log:
        process = place.start(
            *pusher,
            "push",
            url,
            str(count),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
        )
        if process.wait(LIMIT):
            raise RuntimeError(
                f"pushing ended with {process.returncode}: {(folder / 'log').read_text()[-1500:]}"
            )
        worker = place.start(*consume, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        try:
            _wait(out, worker, folder / "log")
        finally:
            _end(worker)
    return {"push": count / _seconds(pushed), "consume": (count - 1) / _seconds(out)}


def _seconds(file: Path) -> float:
    seconds: float = json.loads(file.read_text())["seconds"]
    return seconds


def _own_folder(place: Place) -> Path:
    """Return an empty folder: some peers write files where they are."""
    folder = place.folder / "peer"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _wait(out: Path, worker: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + LIMIT
    while not out.exists():
        if worker.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"its worker has not made all calls: {log.read_text()[-1500:]}")
        time.sleep(0.02)


def _end(worker: subprocess.Popen[bytes]) -> None:
    """End a worker with its children: the process group that was made for it."""
    for number, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
        try:
            os.killpg(worker.pid, number)
        except ProcessLookupError:
            break
        try:
            worker.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    worker.wait()


BENCHMARKS = [
    Benchmark(
        f"peers.{name}",
        f"{count:,} messages ({OUR_COUNT:,} for fb), pushed one by one, then consumed by one"
        " process: from the first call to the last, acknowledged after the call. See"
        f" benchmarks/peers/{name}.py.",
        {name: partial(peer, name=name), OURS: ours},
        (Figure("consume", "consume", "tasks/s"), Figure("push", "push one by one", "messages/s")),
        rounds=3,
    )
    for name, count in PEERS.items()
]
