"""The user's module of the chaos tests: functions that write down when they begin and end, so that losses and repeats can be counted."""

import asyncio
import os
import time

LOG = os.environ.get("DEEDS", "deeds.log")


def note(what: str, number: int) -> None:
    """Append a line; one `write` of so few bytes to a file opened for appending is atomic."""
    descriptor = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{what} {number} {os.getpid()} {time.time()}\n".encode())
    os.close(descriptor)


def work(number: int, seconds: float = 0.03) -> None:
    note("begin", number)
    time.sleep(seconds)
    note("end", number)


async def awork(number: int, seconds: float = 0.03) -> None:
    note("begin", number)
    await asyncio.sleep(seconds)
    note("end", number)
