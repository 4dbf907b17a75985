"""The child processes of `fb consume`, of each kind: how they start, and when that is of no use."""

from __future__ import annotations

import re

import pytest

from tests.cli.shell import Shell
from tests.servers import needs

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
    assert re.search(r"can start: 3 in a row have failed; .* ended with exit code 9", ran.err)


SHADOWS = ("email", "random", "redis", "queue", "select", "signal", "json", "tempfile", "platform")


@pytest.mark.parametrize(
    "how",
    [
        (),
        ("--processes", "2"),
        ("--max-memory", "2GB"),
        ("--mode", "process"),
        ("--mode", "process", "--processes", "2"),
        ("--mode", "gevent"),
    ],
    ids=" ".join,
)
def test_files_that_are_named_like_pythons_own_modules_do_no_harm(
    fb: Shell, how: tuple[str, ...]
) -> None:
    if "gevent" in how:
        needs("gevent")
    for name in SHADOWS:
        fb.write(f"{name}.py", "raise SystemExit('this is not the module that was asked for')\n")
    fb.write(
        "jobs.py", "def task(x):\n    import email.message, random\n    return random.random()\n"
    )
    for number in range(10):
        fb.ok("push", "jobs:task", f"x={number}")
    ran = fb.ok("consume", "jobs:task", "--burst", "--json", *how)
    assert "not the module" not in ran.err
    assert [each["event"] for each in ran.objects].count("succeeded") == 10


@pytest.mark.parametrize("how", [("--processes", "2"), ("--mode", "process")], ids=" ".join)
@pytest.mark.parametrize(
    "line",
    [
        "os.chdir('deeper')",
        "socket.setdefaulttimeout(0.05)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "sys.path.pop(0)",
        "os.environ.clear()",
    ],
)
def test_what_a_module_does_to_its_process_when_it_is_imported(
    fb: Shell, how: tuple[str, ...], line: str
) -> None:
    """It does so in the parent, and then in each child again."""
    fb.write("deeper/nothing.txt", "")
    fb.write(
        "rude.py",
        f"import os, signal, socket, sys, time\n{line}\ndef task(x):\n    time.sleep(0.2)\n",
    )
    for number in range(6):
        fb.ok("push", "rude.py:task", f"x={number}")
    ran = fb.ok("consume", "rude.py:task", "--burst", "--json", "--concurrency", "1", *how)
    assert [each["event"] for each in ran.objects].count("succeeded") == 6
