"""`fb` for the tests of commands, each in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.jobs import set_up
from tests.cli.shell import MODULE, Shell


@pytest.fixture
def fb(tmp_path: Path) -> Iterator[Shell]:
    """`fb` in a fresh folder with `mymod.py`, on the embedded default (SQLite)."""
    shell = Shell(tmp_path)
    shell.write("mymod.py", MODULE)
    yield shell
    shell.close()


@pytest.fixture(params=["sqlite", "redis"])
def shop(request: pytest.FixtureRequest, fb: Shell) -> Shell:
    """`fb` with the module `jobs`, on each broker."""
    return set_up(fb, None if request.param == "sqlite" else request.getfixturevalue("redis_url"))


@pytest.fixture
def plain(fb: Shell) -> Shell:
    """The same, on the default alone: for what has nothing to do with the broker."""
    return set_up(fb)
