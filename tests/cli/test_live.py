"""The live table of `fb consume`, on a real terminal: tmux, whose screen is what a person would
see."""

from __future__ import annotations

import re
import shlex
import subprocess
import uuid
from collections.abc import Callable, Iterator

import pytest

from fbcli.broker import Size
from tests.cli.jobs import began, notes, push, set_up, size
from tests.cli.shell import Shell
from tests.installed import FB
from tests.servers import needs_programs, wait_until

WIDTH, HEIGHT = 110, 40

PROMPT = "READY>"


class Terminal:
    """A shell in a window of a private tmux server."""

    def __init__(self, fb: Shell) -> None:
        self._socket = f"fb-test-{uuid.uuid4().hex[:12]}"
        self._env = fb.env
        size = ("-x", str(WIDTH), "-y", str(HEIGHT))
        self._ask(
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-s",
            "fb",
            *size,
            "-c",
            str(fb.folder),
            "env PS1='READY> ' sh -i",
        )
        wait_until(lambda: PROMPT in self.screen, "the prompt")

    def _ask(self, *words: str) -> str:
        environment = {name: value for name, value in self._env.items() if name != "TMUX"}
        ran = subprocess.run(
            ["tmux", "-u", "-L", self._socket, *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    @property
    def screen(self) -> str:
        """What is on the screen, with what has scrolled off its top."""
        return self._ask("capture-pane", "-p", "-S", "-1000", "-t", "fb")

    @property
    def coloured(self) -> str:
        """The same with its colours."""
        return self._ask("capture-pane", "-p", "-e", "-S", "-1000", "-t", "fb")

    @property
    def cursor(self) -> bool:
        """Whether the cursor is shown."""
        return self._ask("display", "-p", "-t", "fb", "#{cursor_flag}").strip() == "1"

    def type(self, *keys: str) -> None:
        self._ask("send-keys", "-t", "fb", *keys)

    def run(self, *words: str, env: str = "") -> None:
        """Type a command that runs `fb consume`."""
        self.type(
            "-l", f"clear; {env} {shlex.join([str(FB), 'consume', *words])}; echo left with $?"
        )
        self.type("Enter")

    def until(self, condition: Callable[[str], bool], what: str) -> str:
        """Wait until the screen is as it should be; return it."""
        try:
            wait_until(lambda: condition(self.screen), what)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.screen}") from None
        return self.screen

    def close(self) -> None:
        self._ask("kill-server")


@pytest.fixture
def shop(fb: Shell) -> Shell:
    return set_up(fb)


@pytest.fixture
def terminal(shop: Shell) -> Iterator[Terminal]:
    needs_programs("tmux")
    window = Terminal(shop)
    yield window
    window.close()


def row(screen: str, name: str) -> list[str]:
    """Return the words of the last line that begins with `name`; none while there is none."""
    lines = [line.split() for line in screen.splitlines() if line.startswith(name)]
    return lines[-1] if lines else []


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_table(shop: Shell, terminal: Terminal, processes: str) -> None:
    push(shop, "talk", range(3))
    push(shop, "hold", range(1))
    terminal.run("jobs:talk", "jobs:hold", "--processes", processes)
    there = (" 1/", "Ctrl-C stops", f"{processes} processes ·" if processes == "2" else "")
    screen = terminal.until(
        lambda screen: (
            row(screen, "jobs.talk")[1:3] == ["running", "3"]
            and all(text in screen for text in there)
        ),
        "the counts",
    )
    assert not terminal.cursor
    heading = next(
        index
        for index, line in enumerate(screen.splitlines())
        if line.startswith("jobs:talk, jobs:hold")
    )
    above, table = screen.splitlines()[:heading], screen.splitlines()[heading:]
    for n in range(3):
        assert f"printed {n}" in above
        assert any(
            f"logged {n}" in line and "INFO" in line and "jobs.talk t" in line for line in above
        )
    assert not any("printed" in line or "logged" in line for line in table)
    assert sum("pid" in line for line in screen.splitlines()) == 1, (
        "drawn anew in its place, not again and again"
    )
    assert "succeeded in" not in screen, "the table counts those"
    assert row(screen, "all")[2] == "3"

    terminal.type("C-c")
    screen = terminal.until(lambda screen: "Stopping: finishing what runs" in screen, "it to drain")
    assert row(screen, "jobs.hold")[1] == "draining"
    shop.write("go", "")
    screen = terminal.until(lambda screen: f"left with 0\n{PROMPT}" in screen, "its end")
    assert "Ended after" in screen
    assert row(screen, "jobs.talk")[1] == "3"
    assert row(screen, "all")[1] == "4"
    assert "Ctrl-C" not in screen, "the table is gone, its summary stays"
    assert terminal.cursor
    terminal.type("echo still typed", "Enter")
    terminal.until(lambda screen: "\nstill typed" in screen, "the terminal to be as before")
    assert size(shop, "hold") == Size(ready=0, in_flight=0, delayed=0)


def test_ctrl_c_twice(shop: Shell, terminal: Terminal) -> None:
    push(shop, "hold")
    terminal.run("jobs:hold", "--processes", "2")
    wait_until(lambda: began(shop) == [0], "it to run")
    terminal.type("C-c")
    terminal.until(lambda screen: "Stopping: finishing what runs" in screen, "it to drain")
    terminal.type("C-c")
    screen = terminal.until(lambda screen: f"left with 130\n{PROMPT}" in screen, "its end")
    assert "given" in screen
    assert terminal.cursor
    assert size(shop, "hold").ready == 1


def test_ctrl_z_quiets_and_ctrl_backslash_stops_now(shop: Shell, terminal: Terminal) -> None:
    push(shop, "hold")
    terminal.run("jobs:hold")
    wait_until(lambda: began(shop) == [0], "it to run")
    terminal.type("C-z")
    terminal.until(lambda screen: "quiet: fetching no more" in screen, "it to say so")
    terminal.type("C-\\")
    terminal.until(lambda screen: f"left with 143\n{PROMPT}" in screen, "its end")
    assert size(shop, "hold").ready == 1


def test_failures_are_told_above_the_table(shop: Shell, terminal: Terminal) -> None:
    push(shop, "fails")
    terminal.run("jobs:fails", "--retries", "1")
    screen = terminal.until(lambda screen: row(screen, "jobs.fails")[3:4] == ["1"], "the count")
    assert "attempt 1 of 2 failed: ValueError: no 0" in screen
    assert 'raise ValueError(f"no {n}")' in screen
    assert screen.index("failed for good") < screen.index("Ctrl-C stops")
    terminal.type("C-c")
    terminal.until(lambda screen: "left with 0" in screen, "its end")


def test_burst_ends_with_the_summary(shop: Shell, terminal: Terminal) -> None:
    push(shop, "odd", range(4))
    terminal.run("jobs:odd", "--burst", "--retries", "0")
    screen = terminal.until(lambda screen: "left with 8" in screen, "its end")
    assert row(screen, "jobs.odd")[:3] == ["jobs.odd", "4", "2"]


def test_verbose_tells_each_task(shop: Shell, terminal: Terminal) -> None:
    push(shop, "work", range(3))
    terminal.run("jobs:work", "--burst", "-v")
    screen = terminal.until(lambda screen: "left with 0" in screen, "its end")
    assert screen.count("succeeded in") == 3


def test_a_storm_of_prints_leaves_one_table(shop: Shell, terminal: Terminal) -> None:
    push(shop, "talk", range(500))
    terminal.run("jobs:talk", "--processes", "2", "--log-level", "ERROR")
    screen = terminal.until(
        lambda screen: row(screen, "jobs.talk")[2:3] == ["500"], "all to be done"
    )
    lines = screen.splitlines()
    assert sum("· pid" in line for line in lines) == 1
    assert all(line.removeprefix("printed ").isdigit() for line in lines if "printed" in line), (
        "no line is torn"
    )
    assert sum("printed" in line for line in lines) == 500
    terminal.type("C-c")
    terminal.until(lambda screen: "left with 0" in screen, "its end")


@pytest.mark.parametrize(
    ("env", "words"), [("TERM=dumb", []), ("", ["--plain"])], ids=["dumb", "plain"]
)
def test_without_a_table(shop: Shell, terminal: Terminal, env: str, words: list[str]) -> None:
    push(shop, "talk")
    terminal.run("jobs:talk", "--burst", *words, env=env)
    screen = terminal.until(lambda screen: "left with 0" in screen, "its end")
    assert "printed 0" in screen
    assert "t0" in screen
    assert "logged 0" in screen
    assert "succeeded in" in screen
    assert "1 done in" in screen
    assert "Ctrl-C" not in screen
    assert "· pid" not in screen


@pytest.mark.parametrize("env", ["NO_COLOR=1", ""])
def test_no_color(shop: Shell, terminal: Terminal, env: str) -> None:
    push(shop, "fails")
    terminal.run("jobs:fails", "--burst", "--retries", "0", env=env)
    terminal.until(lambda screen: "left with 1" in screen, "its end")
    codes = {
        code
        for found in re.findall(r"\x1b\[([\d;]*)m", terminal.coloured)
        for code in found.split(";")
    }
    colours = {code for code in codes if re.fullmatch(r"3[0-8]|4[0-8]|9\d|10\d", code)}
    assert (colours == set()) == bool(env)


def test_usr1_above_the_table(shop: Shell, terminal: Terminal) -> None:
    push(shop, "hold")
    terminal.run("jobs:hold")
    wait_until(lambda: began(shop) == [0], "it to run")
    (note,) = notes(shop)
    subprocess.run(["kill", "-USR1", str(note.pid)], check=True)
    screen = terminal.until(
        lambda screen: "in hold" in screen and "Ctrl-C stops" in screen, "the stacks"
    )
    shop.write("go", "")
    screen = terminal.until(
        lambda screen: row(screen, "jobs.hold")[2:3] == ["1"], "the table to go on"
    )
    tops = [index for index, line in enumerate(screen.splitlines()) if "· pid" in line]
    assert len(tops) == 1, "one table, and nothing torn by it"
    assert not any(
        line.startswith(("Thread 0x", "  File")) for line in screen.splitlines()[tops[0] :]
    )
    terminal.type("C-c")
    terminal.until(lambda screen: "left with 0" in screen, "its end")


def test_piped_stderr_gets_lines(shop: Shell, terminal: Terminal) -> None:
    push(shop, "talk")
    terminal.type("-l", f"clear; {FB} consume jobs:talk --burst 2>log; echo left with $?")
    terminal.type("Enter")
    screen = terminal.until(lambda screen: "left with 0" in screen, "its end")
    assert "printed 0" in screen
    assert "\x1b" not in (shop.folder / "log").read_text()
    assert "1 done in" in (shop.folder / "log").read_text()
