"""The functions that the consumers of a trial run: they write down when they begin and end, and do
as their message says.

Their ledger is the folder that FB_CHAOS_LEDGER names.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time

from fbcli.chaos.ledger import CALLS, note, now
from fbcli.chaos.plan import END, KILLER, POISON
from fbcli.platform import system

_calls = itertools.count()
"""Numbers the calls of this process: the same task may run in it twice, even at the same time."""


class Poison(Exception):
    """What a task raises that is to fail for good."""


def work(number: int, seconds: float = 0.03, fate: str = END) -> None:
    """Last so many seconds, and meet the fate: `end`, `poison` (fail) or `killer` (kill this
    process)."""
    call = _begin(number, seconds, fate)
    time.sleep(seconds)
    _finish(number, call, fate)


async def awork(number: int, seconds: float = 0.03, fate: str = END) -> None:
    """The same as a coroutine."""
    call = _begin(number, seconds, fate)
    await asyncio.sleep(seconds)
    _finish(number, call, fate)


def _begin(number: int, seconds: float, fate: str) -> int:
    call = next(_calls)
    note(CALLS, "begin", number, call, now(), fate, seconds)
    return call


def _finish(number: int, call: int, fate: str) -> None:
    if fate == POISON:
        note(CALLS, "fail", number, call, now())
        raise Poison(f"task {number} is poison")
    if fate == KILLER:
        note(CALLS, "kill", number, call, now())
        system.kill(os.getpid())
    note(CALLS, "end", number, call, now())
