"""What holds for every command: help, version, exit codes, errors in one sentence, clean stdout."""

from __future__ import annotations

import importlib
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from fbcli import __version__
from fbcli.commands._listing import commands
from tests.cli.shell import Shell
from tests.installed import FB
from tests.servers import wait_until


def commands_of(name: str) -> Iterator[tuple[str, Any]]:
    command = typer.main.get_command(importlib.import_module(f"fbcli.commands.{name}").app)
    inner = getattr(command, "commands", None)
    if inner:
        yield from ((f"{name} {each}", inner[each]) for each in inner)
    else:
        yield name, command


def test_help_names_all_commands_and_exit_codes(fb: Shell) -> None:
    ran = fb.ok("--help")
    for name in commands():
        assert f" {name} " in ran.out
    assert "4 unreachable" in ran.out
    assert fb.ok("-h").out == ran.out
    assert fb().code == 2


@pytest.mark.parametrize("group", commands())
def test_every_command_opens_with_a_sentence_and_examples(group: str) -> None:
    for name, command in commands_of(group):
        summary, *rest = command.help.split("\n\n")
        assert "\n" not in summary, name
        assert summary.endswith("."), name
        assert rest[0].startswith("\b"), name
        assert all("fb " in line for line in rest[0].splitlines()[1:]), name
        if name in commands():
            assert summary == commands()[name].help, "`fb --help` and `fb NAME --help` say the same"


@pytest.mark.parametrize("group", commands())
def test_every_option_is_explained_and_has_a_variable(group: str) -> None:
    for name, command in commands_of(group):
        for parameter in command.params:
            assert parameter.help, (name, parameter.name)
            if parameter.param_type_name == "option" and parameter.name != "help":
                assert str(parameter.envvar).startswith("FB_"), (name, parameter.name)


def test_version(fb: Shell) -> None:
    assert fb.ok("--version").out == f"fbcli {__version__}\n"
    assert fb.ok("version").out.startswith(f"fbcli {__version__}, Python 3.")
    assert fb.ok("version", "--json").json["fbcli"] == __version__
    assert fb.ok("version", env={"FB_JSON": "1"}).json["fbcli"] == __version__


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["pusj"], "fb: there is no command 'pusj'. Did you mean 'fb push'?"),
        (["xyzzy"], "`fb --help` lists the commands"),
        (["version", "--jsn"], "fb version: there is no option --jsn. Did you mean '--json'?"),
        (["config", "chek"], "Did you mean 'check'?"),
        (
            ["push", "mymod:add", "--x=1"],
            "Arguments of the function are written without dashes: x=1.",
        ),
        (["push", "mymod:add", "--count", "many"], "fb push: invalid value for '--count'"),
        (["push", "mymod:add", "--count"], "fb push: option '--count' requires an argument."),
        (["version", "more"], "fb version: got unexpected extra argument"),
    ],
)
def test_a_bad_command_line_ends_with_2_a_sentence_and_where_to_read_on(
    fb: Shell, words: list[str], sentence: str
) -> None:
    ran = fb(*words)
    assert (ran.code, ran.out) == (2, "")
    assert sentence in ran.err
    assert "--help" in ran.err
    assert "Traceback" not in ran.err


def test_nobody_reads_any_more(fb: Shell) -> None:
    child = fb.start("push", "mymod:add", "x={{Count}}", "--count", "100000", "--dry-run")
    assert child.stdout is not None
    child.stdout.readline()
    child.stdout.close()
    assert child.wait(30) == 1
    assert child.stderr is not None
    assert child.stderr.read() == ""


def test_interrupt_ends_with_130_and_no_traceback(fb: Shell) -> None:
    fb.write(
        "lazy.py",
        "import pathlib, time\ndef task():\n    pathlib.Path('begun').touch()\n   "
        " time.sleep(60)\n",
    )
    child = fb.start("run", "lazy:task")
    wait_until((fb.folder / "begun").exists, "the task to begin")
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err.strip()) == (130, "", "")


def test_an_unexpected_error_is_called_a_bug_and_shows_its_traceback_only_when_asked(
    fb: Shell,
) -> None:
    fb.write(
        "sitecustomize.py",
        "import fbcli.settings\ndef load(**flags): raise RuntimeError('odd')\nfbcli.settings.load ="
        " load\n",
    )
    ran = fb("run", "mymod:add", "x=1", env={"PYTHONPATH": str(fb.folder)})
    assert ran.code == 1
    assert "fb: this is a bug in fbcli: RuntimeError: odd" in ran.err
    assert "Traceback" not in ran.err
    ran = fb("run", "mymod:add", "x=1", env={"PYTHONPATH": str(fb.folder), "FB_DEBUG": "1"})
    assert "Traceback" in ran.err


def test_errors_are_on_stderr_also_with_json(fb: Shell) -> None:
    ran = fb("run", "mymod:nope", "--json")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == "fb: There is no function 'nope' in mymod. It has add, echo, fails, slow.\n"


def test_a_terminal_that_cannot_draw_gets_no_escapes(fb: Shell) -> None:
    drawn = fb.at_terminal("config", "show")
    assert "\x1b[" in drawn.out
    plain = fb.at_terminal("config", "show", env={"TERM": "dumb"})
    assert "\x1b" not in plain.out
    colourless = fb.at_terminal("config", "show", env={"NO_COLOR": "1"})
    assert "\x1b[3" not in colourless.out


def test_streams_that_are_closed_full_or_poor(fb: Shell) -> None:
    for words in (
        "run mymod:add x=1 >&-",
        "push mymod:add x=1 <&-",
        "run mymod:nope 2>&-; test $? -eq 3",
    ):
        ended = subprocess.run(
            ["sh", "-c", f"{FB} {words}"], cwd=fb.folder, env=fb.env, capture_output=True, text=True
        )
        assert (ended.returncode, ended.stderr) == (0, ""), words
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [FB, "version"],
            cwd=fb.folder,
            env=fb.env,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert ended.returncode != 0
    assert "No space left on device" in ended.stderr
    assert "bug" not in ended.stderr
    assert (
        fb.ok("run", "mymod:echo", "value=ü…", env={"PYTHONIOENCODING": "ascii"}).out
        == "\\xfc\\u2026\n"
    )
