"""A command that was forked is the same to a test as one that was started."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.cli.shell import Ran, Shell
from tests.installed import BIN, FB, ROOT
from tests.servers import wait_until

MODULE = """
import os, sys, threading

def streams(code: int = 0) -> str:
    os.write(2, b"raw\\n")
    print("said", file=sys.stderr)
    if code:
        sys.exit(code)
    return " ".join([sys.argv[0], *sys.path, os.getcwd(), os.environ["MINE"], sys.stdin.read()])

def names() -> list[str]:
    return [__name__, sys.modules["__main__"].__file__, threading.current_thread().name]

def dies() -> None:
    os.kill(os.getpid(), 9)

def hangs() -> None:
    threading.Event().wait()
"""


@pytest.fixture(params=["forked", "started"])
def shell(request: pytest.FixtureRequest, fb: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("FB_TEST_FRESH", "" if request.param == "forked" else "1")
    fb.write("mine.py", MODULE)
    fb.env["MINE"] = "ü"
    return fb


def test_it_has_streams_a_folder_an_environment_and_a_code_of_its_own(shell: Shell) -> None:
    typed = "typed ü" * 50_000
    ran = shell("run", "mine:streams", input=typed)
    assert (ran.code, ran.err) == (0, "raw\nsaid\n")
    program, *path, folder, mine, given = ran.out.strip().split(
        " ", ran.out.count(" ") - typed.count(" ")
    )
    assert (program, folder, mine) == (str(FB), str(shell.folder), "ü")
    assert (given == typed, str(BIN) in path) == (True, True)
    assert not [each for each in path if each.startswith(str(ROOT / "tests"))]
    assert shell("run", "mine:streams", "code=7").code == 7
    assert shell("run", "mine:names").json == ["mine", str(FB), "MainThread"]


def test_each_has_modules_of_its_own(shell: Shell) -> None:
    assert shell.ok("run", "mymod:add", "x=1").out == "3\n"
    shell.write("mymod.py", "def add(x: int) -> int:\n    return -x\n")
    assert shell.ok("run", "mymod:add", "x=1").out == "-1\n"


def test_a_signal_is_told(shell: Shell) -> None:
    assert shell("run", "mine:dies") == Ran(-9, "", "")


def test_one_that_does_not_end_is_killed(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.cli.shell.PATIENCE", 5.0)
    shell.write("mine.py", MODULE.replace("threading.Event().wait()", PIDFILE))
    with pytest.raises(subprocess.TimeoutExpired):
        shell("run", "mine:hangs")
    pid = int((shell.folder / "pid").read_text())
    wait_until(lambda: not alive(pid), "its end")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


PIDFILE = 'open("pid", "w").write(str(os.getpid())); threading.Event().wait()'
