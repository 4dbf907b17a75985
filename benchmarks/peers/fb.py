"""fb itself, as the peers are measured."""

from __future__ import annotations

from benchmarks.peers import side, tally
from fbcli import Booster


def push(url: str, count: int) -> None:
    add = Booster(tally.add, broker=url)
    for number in range(count):
        add.push(number, y=2)


def consume(url: str) -> None:
    Booster(tally.add, broker=url).consume().join()


if __name__ == "__main__":
    side.play(push, consume)
