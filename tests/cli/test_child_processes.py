"""The child processes of `fb consume`, of each kind: how they start, and when that is of no use."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Shell

DIES_AT_THE_SECOND_IMPORT = """\
import os, pathlib
mark = pathlib.Path(__file__).with_name("imported")
if mark.exists():
    os._exit(9)
mark.touch()
def task(): pass
"""
"""The parent imports it, to see what is asked for; each child dies of it."""


@pytest.mark.parametrize("how", [("--processes", "2"), ("--mode", "process")])
def test_children_that_can_never_start_end_the_run(fb: Shell, how: tuple[str, ...]) -> None:
    fb.write("dying.py", DIES_AT_THE_SECOND_IMPORT)
    ran = fb("consume", "dying:task", *how)
    assert ran.code == 3
    assert "the last 3 of them ended with exit code 9" in ran.err
