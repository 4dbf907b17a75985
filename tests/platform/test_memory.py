"""How much a process holds, and when that is too much."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fbcli.platform import system
from fbcli.platform.memory import LOOK_EVERY, MemoryLimit
from tests.engine.factories import Clock

MB = 1_000_000


def test_what_is_allocated_is_seen() -> None:
    before = system.resident_bytes()
    assert before is not None
    assert before > 5 * MB
    block = bytearray(b"x") * (80 * MB)
    after = system.resident_bytes()
    assert after is not None
    assert after - before > 70 * MB
    assert len(block) == 80 * MB


def test_another_process_and_none() -> None:
    if not os.path.exists("/proc/self/statm"):
        assert system.resident_bytes(os.getppid()) is None
        return
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        held = system.resident_bytes(child.pid)
        child.communicate(b"\n")
    assert held is not None
    assert system.resident_bytes(child.pid) is None, "it has ended"


def test_a_limit_speaks_when_it_is_exceeded() -> None:
    held = system.resident_bytes()
    assert held is not None
    assert MemoryLimit(held * 10, Clock()).exceeded() is None
    assert MemoryLimit(held // 2, Clock()).exceeded() == pytest.approx(held, rel=0.2)


def test_it_looks_now_and_then_however_often_it_is_asked() -> None:
    clock = Clock()
    limit = MemoryLimit(1, clock)
    assert limit.exceeded()
    assert limit.exceeded() is None
    clock.at += LOOK_EVERY / 2
    assert limit.exceeded() is None
    clock.at += LOOK_EVERY
    assert limit.exceeded()
