"""Hearing of writes to a file: where the system tells, at once; else nobody pretends."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from fbcli.platform import FileWatch, system

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells of writes by inotify"
)

LONG = 20.0
"""Seconds that no wait of these tests may take."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.write_bytes(b"")
    return path


def listening(file: Path) -> FileWatch:
    watch = system.watch_file(file)
    assert watch is not None
    return watch


def append(file: Path) -> None:
    with file.open("ab") as log:
        log.write(b"x")


def test_a_write_ends_the_wait(file: Path) -> None:
    watch = listening(file)
    writer = threading.Timer(0.05, append, (file,))
    writer.start()
    assert watch.wait(LONG)
    writer.join()
    assert not watch.wait(0.01)


def test_a_write_before_the_wait_is_not_missed(file: Path) -> None:
    watch = listening(file)
    append(file)
    append(file)
    assert watch.wait(LONG)
    assert not watch.wait(0.01), "those that were heard together are one"


def test_a_ring_ends_the_wait_also_when_it_came_before(file: Path) -> None:
    watch = listening(file)
    watch.ring()
    assert not watch.wait(LONG)
    ringer = threading.Timer(0.05, watch.ring)
    ringer.start()
    assert not watch.wait(LONG)
    ringer.join()
    watch.ring()
    append(file)
    assert watch.wait(LONG), "both at once: the write counts"


def test_another_file_of_the_same_name_is_noticed(file: Path) -> None:
    watch = listening(file)
    assert not watch.is_stale()
    file.rename(file.with_suffix(".old"))
    assert watch.is_stale()
    file.write_bytes(b"")
    assert watch.is_stale()


def test_there_is_none_at_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert system.watch_file(tmp_path / "none") is None
