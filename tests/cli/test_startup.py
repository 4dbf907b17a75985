"""Commands start soon, and end in order: what is left out changes nothing that a person sees."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

from fbcli.commands._listing import commands
from fbcli.commands._startup import QuickTyper
from tests.cli.shell import Shell
from tests.cli.test_basics import commands_of


@pytest.mark.parametrize("group", commands())
def test_values_are_converted_as_typer_does(group: str) -> None:
    for name, command in commands_of(group):
        context = command.make_context(name, [], resilient_parsing=True)
        for parameter in command.get_params(context):
            if parameter.callback is not None:
                continue  # of --help, which would show it
            values: list[Any] = [None, "text", "", ("a", "b"), True]
            values += ["7", "007", "0", "-1", "10", " 7", "7.0", "1_0", "9" * 30, "\u0663"]
            assert [outcome(parameter.process_value, context, each) for each in values] == [
                outcome(type(parameter).process_value, parameter, context, each) for each in values
            ], (name, parameter.name)


def outcome(act: Any, *arguments: Any) -> object:
    try:
        value = act(*arguments)
    except Exception as error:
        return type(error), str(error)
    return type(value), value


def test_every_command_starts_soon() -> None:
    for name in commands():
        assert isinstance(importlib.import_module(f"fbcli.commands.{name}").app, QuickTyper), name


def test_garbage_is_collected_while_a_command_runs(fb: Shell) -> None:
    fb.write("collecting.py", "import gc\n\n\ndef enabled() -> bool:\n    return gc.isenabled()\n")
    assert fb.ok("run", "collecting:enabled").json is True


def test_a_push_leaves_nothing_open(fb: Shell) -> None:
    """The last one who closes an SQLite file takes its log away."""
    fb.ok("push", "mymod:add", "x=1")
    assert [path.name for path in sorted((fb.folder / ".fb").glob("queue.db*"))] == ["queue.db"]
    fb("push", "mymod:add", "x=1", "nonsense=2")
    assert [path.name for path in sorted((fb.folder / ".fb").glob("queue.db*"))] == ["queue.db"]


@pytest.fixture
def modules(fb: Shell) -> Callable[..., set[str]]:
    """Runs `fb`; returns what it has imported."""
    fb.write(
        "sitecustomize.py",
        "import atexit, sys\natexit.register(lambda: print(*sys.modules, file=open('modules',"
        " 'w')))\n",
    )

    def imported(*words: str) -> set[str]:
        fb.ok(*words, env={"PYTHONPATH": str(fb.folder)})
        return set((fb.folder / "modules").read_text().split())

    return imported


def test_help_imports_neither_commands_nor_brokers_nor_messages(
    modules: Callable[..., set[str]],
) -> None:
    imported = modules("--help")
    assert not imported & {
        "msgspec",
        "pydantic",
        "asyncio",
        "sqlite3",
        "redis",
        "fbcli.settings",
        "fbcli.options",
        "fbcli.booster",
    }
    assert {name for name in imported if name.startswith("fbcli.commands.")} == {
        "fbcli.commands.app",
        "fbcli.commands._listing",
        "fbcli.commands._startup",
    }


def test_a_push_imports_only_what_it_needs(modules: Callable[..., set[str]], fb: Shell) -> None:
    fb.write(
        "plain.py",
        "from fbcli import boost\n\n\ndef task(x: int): ...\n\n\n@boost(qps=5, retries=1)\n"
        "def boosted(x: int): ...\n",
    )
    fb.write("fb.toml", "[defaults]\nresults = true\n")
    for words in (
        ["plain:task", "x=1"],
        ["plain:boosted", "x=1", "--delay", "1m", "--priority", "3"],
    ):
        assert not modules("push", *words) & {
            "asyncio",
            "pydantic",
            "redis",
            "rich",
            "fbcli.engine.consumer",
            "fbcli.brokers.sqlite.inbox",
        }
