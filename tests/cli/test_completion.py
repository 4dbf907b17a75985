"""Completion in real shells: bash always, zsh and fish where they are installed."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from fbcli.broker import Outgoing
from fbcli.console.shells import FILES, SCRIPTS
from tests.cli.shell import Shell
from tests.installed import ROOT
from tests.messages import queue_in
from tests.servers import needs_programs


@pytest.fixture
def fb(fb: Shell) -> Shell:
    """`fb` in a folder with a queue and some files."""
    fb.env["TERM"] = "xterm"
    with queue_in(fb.folder, "orders") as queue:
        queue.publish([Outgoing(b'{"x":1}')])
    fb.write("data.json", "{}")
    fb.write("a folder/inner.json", "{}")
    return fb


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_copies_are_fresh(name: str) -> None:
    """`make completions` makes them anew."""
    assert (ROOT / "completions" / FILES[name]).read_text(encoding="utf-8") == SCRIPTS[name]


def test_the_command_prints_them(fb: Shell) -> None:
    for name, script in SCRIPTS.items():
        assert fb.ok("completion", name).out == script
    ran = fb("completion", "bahs")
    assert (ran.code, "Did you mean 'bash'?" in ran.err) == (2, True)
    assert fb("completion").code == 2


def test_it_is_quick(fb: Shell) -> None:
    def took(**env: str) -> float:
        begun = time.monotonic()
        fb.ok("__complete", "--current=", "wait", env=env)
        return time.monotonic() - begun

    idle = min(took() for _ in range(3))
    hanging = min(
        took(FB_BROKER="redis://10.255.255.1:6379/0") for _ in range(2)
    )  # nobody answers there
    assert hanging < idle + 4


# bash, its function called as bash calls it: the line, and its words split at the word breaks

BASH_CASES = [
    ("fb pee", ["fb", "pee"], ["peek"]),
    ("fb dead re", ["fb", "dead", "re"], ["replay"]),
    ("fb  push   mymod:ad", ["fb", "push", "mymod", ":", "ad"], ["add"]),
    ("fb push mymod:", ["fb", "push", "mymod", ":"], ["add", "echo", "fails", "slow"]),
    ("fb push mymod:add ", ["fb", "push", "mymod", ":", "add", ""], ["x=", "y="]),
    ("fb push mymod:add x=1 ", ["fb", "push", "mymod", ":", "add", "x", "=", "1", ""], ["y="]),
    ("fb push 'mymod:add' x", ["fb", "push", "'mymod:add'", "x"], ["x="]),
    (
        "fb push mymod:add x=@da",
        ["fb", "push", "mymod", ":", "add", "x", "=@", "da"],
        ["@data.json"],
    ),
    (
        "fb push mymod:add x:=@a",
        ["fb", "push", "mymod", ":", "add", "x", ":=@", "a"],
        ["@a\\ folder/"],
    ),
    (
        "fb push mymod:add --from da",
        ["fb", "push", "mymod", ":", "add", "--from", "da"],
        ["data.json"],
    ),
    ("fb wait ord", ["fb", "wait", "ord"], ["orders"]),
    ("fb wait --broker redis+l", ["fb", "wait", "--broker", "redis+l"], ["redis+list://"]),
    ("fb wait --broker redis+list:", ["fb", "wait", "--broker", "redis+list", ":"], ["//"]),
    ("fb wait --broker=redis+l", ["fb", "wait", "--broker", "=", "redis+l"], ["redis+list://"]),
    ("fb wait --bro", ["fb", "wait", "--bro"], ["--broker"]),
    ("fb nosuch ", ["fb", "nosuch", ""], []),
]


@pytest.mark.parametrize(
    ("line", "words", "replies"), BASH_CASES, ids=[case[0] for case in BASH_CASES]
)
def test_bash(fb: Shell, line: str, words: list[str], replies: list[str]) -> None:
    script = """
        COMP_LINE=$1 COMP_POINT=${#1}
        shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_WORDBREAKS=$' \\t\\n"\\'@><=;|&(:'
        set -u
        source <(fb completion bash)
        _fb
        for reply in ${COMPREPLY[@]+"${COMPREPLY[@]}"}; do printf '%s\\n' "$reply"; done
    """
    ran = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", line, *words],
        cwd=fb.folder,
        env=fb.env,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (sorted(ran.stdout.splitlines()), ran.stderr) == (sorted(replies), "")


def test_bash_with_a_colon_that_breaks_no_words(fb: Shell) -> None:
    """As people set it who are tired of the colon."""
    script = (
        "source <(fb completion bash); COMP_WORDBREAKS=' '; COMP_LINE='fb push mymod:ad';"
        " COMP_POINT=16; COMP_WORDS=(fb push mymod:ad); COMP_CWORD=2; _fb; echo ${COMPREPLY[@]}"
    )
    ran = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=fb.folder,
        env=fb.env,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ran.stdout, ran.stderr) == ("mymod:add\n", "")


# shells as a person has them before her


class Typist:
    """Types into a shell at a terminal, and reads what it shows."""

    def __init__(self, argv: list[str], shell: Shell) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(shell.folder)
            os.execvpe(argv[0], argv, {**shell.env, "PS1": "> ", "COLUMNS": "200", "LINES": "50"})

    def type(self, keys: str, until: str) -> str:
        """Type keys; return what is shown when it matches `until`."""
        os.write(self._terminal, keys.encode())
        shown = ""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if select.select([self._terminal], [], [], 0.1)[0]:
                shown += os.read(self._terminal, 65536).decode(errors="replace")
                plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
                if re.search(until, plain):
                    return plain
        raise AssertionError(f"typed {keys!r}; waited for {until!r}; it shows {shown!r}")

    def close(self) -> None:
        os.close(self._terminal)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture
def typist(request: pytest.FixtureRequest, fb: Shell) -> Iterator[Typist]:
    """At bash or zsh, with the script of `fb` loaded."""
    name = request.param
    argv = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}[name]
    needs_programs(name)
    person = Typist([name, *argv], fb)
    try:
        person.type("", r"[>%#] ?")
        if name == "zsh":
            person.type(
                "PROMPT='> '; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -u -D;"
                " echo RE''ADY\r",
                "READY",
            )
        person.type(f"source <(fb completion {name}); echo DO''NE\r", "DONE")
        yield person
    finally:
        person.close()


@pytest.mark.parametrize("typist", ["bash", "zsh"], indirect=True)
def test_at_the_keyboard(typist: Typist) -> None:
    clear = "\x15"  # Ctrl-U
    typist.type("fb pee\t", r"fb peek ")
    typist.type(f"{clear}fb push mymod:ad\t", r"fb push mymod:add ")
    typist.type("x\t", r"x=$")
    typist.type("@da\t", r"@data\.json ")
    typist.type(f"{clear}fb wait ord\t", r"fb wait orders ")
    typist.type(f"{clear}fb wait --broker=redis+l\t", r"--broker=redis\+list://$")
    typist.type(f"{clear}fb wait --jso\t", r"--json ")
    typist.type(f"{clear}fb de\t\t", r"(?s)dead.*delayed")


def test_fish(fb: Shell) -> None:
    needs_programs("fish")

    def complete(line: str) -> dict[str, str]:
        ran = subprocess.run(
            [
                "fish",
                "--no-config",
                "-c",
                "fb completion fish | source; complete -C $argv[1]",
                line,
            ],
            cwd=fb.folder,
            env=fb.env,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert ran.stderr == ""
        return {
            text: shown
            for text, _, shown in (row.partition("\t") for row in ran.stdout.splitlines())
        }

    assert complete("fb pee") == {"peek": "Show the next messages of a queue without taking them."}
    assert complete("fb push mymod:ad") == {"mymod:add": ""}
    assert complete("fb push mymod:add ") == {"x=": "int", "y=": "int = 2"}
    assert list(complete("fb push mymod:add x=@da")) == ["x=@data.json"]
    assert list(complete("fb push mymod:add --from da")) == ["data.json"]
    assert list(complete("fb wait ord")) == ["orders"]
    assert list(complete("fb wait --broker redis+l")) == ["redis+list://"]
    assert list(complete("fb wait --broker=redis+l")) == ["--broker=redis+list://"]


def test_powershell(fb: Shell) -> None:
    pwsh = shutil.which("pwsh")
    if pwsh is None:
        pytest.skip("There is no pwsh on the PATH; it is in no Debian repository.")
    script = (
        "fb completion powershell | Out-String | Invoke-Expression; foreach ($line in 'fb pee', 'fb"
        " push mymod:add ', 'fb push mymod:ad') { (TabExpansion2 -inputScript $line -cursorColumn"
        " $line.Length).CompletionMatches.CompletionText -join ' ' }"
    )
    ran = subprocess.run(
        [pwsh, "-NoProfile", "-Command", script],
        cwd=fb.folder,
        env=fb.env,
        capture_output=True,
        text=True,
    )
    assert ran.stdout.splitlines() == ["peek", "x= y=", "mymod:add"]
