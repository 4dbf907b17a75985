"""`python -m benchmarks [--only NAME…] [--rounds N] [--quick] [--json FILE] [--list]`. Exit code 1:
a target was missed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import (
    consume_redis,
    consume_sqlite,
    controls,
    delays,
    depth,
    fleet,
    idle,
    latency,
    live_limits,
    many,
    naps,
    pacing,
    push_redis,
    push_sqlite,
    space,
    startup,
)
from benchmarks.figures import Benchmark
from benchmarks.machine import facts, load
from benchmarks.peers import bench as peers
from benchmarks.place import Place
from benchmarks.report import missed_in, show, write_json
from benchmarks.rounds import measure
from tests.servers import RequirementMissing

SUBJECTS = (
    consume_redis,
    consume_sqlite,
    controls,
    push_redis,
    push_sqlite,
    latency,
    naps,
    pacing,
    fleet,
    delays,
    live_limits,
    many,
    idle,
    depth,
    space,
    startup,
    peers,
)


def main() -> int:
    options = _parse()
    every: list[Benchmark] = [benchmark for subject in SUBJECTS for benchmark in subject.BENCHMARKS]
    if options.list:
        for benchmark in every:
            print(f"{benchmark.name:28} {', '.join(benchmark.sides)}")
        return 0
    chosen = [
        each
        for each in every
        if not options.only or any(each.name.startswith(name) for name in options.only)
    ]
    if not chosen:
        print(
            f"No benchmark begins with {' or '.join(options.only)}; --list shows them.",
            file=sys.stderr,
        )
        return 2
    try:
        place = Place(quick=options.quick, deep=options.deep)
    except RequirementMissing as missing:
        print(missing, file=sys.stderr)
        return 2
    with place:
        known = facts(place.folder, peers.PYTHON)
        results = [measure(benchmark, place, options.rounds, _tell) for benchmark in chosen]
    known["load"] += (
        f", {load():.2f} after; on a busy machine processor time and best/best say more than"
        " medians"
    )
    show(known, results)
    if options.json:
        write_json(options.json, known, results)
    return 1 if any(missed_in(measured) for measured in results) else 0


def _tell(line: str) -> None:
    print(f"… {line}", file=sys.stderr, flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="benchmarks whose name begins so"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="how often each side is run (default 5)"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer messages, at most 2 rounds: to see that it works",
    )
    parser.add_argument(
        "--deep",
        type=int,
        metavar="N",
        help="messages of the deep queue of depth.… and space.… (Redis takes 150 MB a million)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write every value of every round there"
    )
    parser.add_argument("--list", action="store_true", help="list the benchmarks and their sides")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
