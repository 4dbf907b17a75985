"""Writes docs/commands.md from the commands themselves: what `fb … --help` says, as Markdown, the
same on every machine.

python docs/generate.py            # writes docs/commands.md
python docs/generate.py --print    # prints it instead
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import typer

from fbcli.commands._listing import commands
from fbcli.commands.app import EPILOG

TARGET = Path(__file__).with_name("commands.md")

HEAD = """\
# Commands

Made from the help of the commands by `make docs`; do not edit. `fb --help` lists them, \
`fb COMMAND --help` shows one.

Every option can also be given by the variable that is named beside it. An option without a value \
is switched
on by `1`, `true` or `yes`.

"""


def reference() -> str:
    """Return the whole text."""
    parts = [HEAD, EPILOG.partition(" Every option")[0], "\n\n", *_contents()]
    for name in commands():
        for path, command in _commands(name):
            parts += _section(path, command)
    return "".join(parts).rstrip("\n") + "\n"


def _contents() -> Iterator[str]:
    yield "| | |\n|---|---|\n"
    for name, entry in commands().items():
        yield f"| [`fb {name}`](#fb-{name}) | {entry.help} |\n"
    yield "\n"


def _commands(name: str) -> Iterator[tuple[str, Any]]:
    """Yield a command, and those below it when it is a group, each with how it is called."""
    command: Any = typer.main.get_command(importlib.import_module(f"fbcli.commands.{name}").app)
    yield name, command
    for inner, each in getattr(command, "commands", {}).items():
        yield f"{name} {inner}", each


def _section(path: str, command: Any) -> Iterator[str]:
    inner = getattr(command, "commands", None)
    yield f"{'###' if ' ' in path else '##'} fb {path}\n\n"
    yield from _prose(command.help)
    if inner:
        yield "".join(f"- [`fb {path} {name}`](#fb-{path}-{name})\n" for name in inner) + "\n"
        return
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [
        each
        for each in command.params
        if each.param_type_name == "option" and not getattr(each, "hidden", False)
    ]
    if arguments:
        yield "| Argument | |\n|---|---|\n"
        yield (
            "".join(
                f"| `{_cell(_placeholder(each))}` | {_cell(each.help)} |\n" for each in arguments
            )
            + "\n"
        )
    if options:
        yield "| Option | | Default | Variable |\n|---|---|---|---|\n"
        kinds = {
            name: str(each.annotation)
            for name, each in inspect.signature(command.callback, eval_str=True).parameters.items()
        }
        yield "".join(map(partial(_row, kinds=kinds), options)) + "\n"


def _prose(help: str) -> Iterator[str]:
    """Yield the paragraphs of a help text; those that begin with a backspace are examples, kept as
    they are."""
    for paragraph in help.replace("\\[", "[").split("\n\n"):
        if paragraph.startswith("\b"):
            lines = [line.removeprefix("  ").rstrip() for line in paragraph.splitlines()[1:]]
            yield "```sh\n" + "\n".join(lines) + "\n```\n\n"
        else:
            yield " ".join(paragraph.split()) + "\n\n"


def _placeholder(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _row(option: Any, *, kinds: Mapping[str, str]) -> str:
    names = sorted(
        [*option.opts, *option.secondary_opts],
        key=lambda name: (len(name) == 2, name.startswith("--no-")),
    )
    value = (
        ""
        if getattr(option, "is_flag", False)
        else f" {option.metavar or _value(kinds[option.name])}"
    )
    text, _, default = option.help.replace("\\[", "[").partition(" [default: ")
    default = default.rstrip("]") or _default(option)
    flags = ", ".join(f"`{name}{_cell(value) if name == names[0] else ''}`" for name in names)
    return f"| {flags} | {_cell(text)} | {_cell(default)} | `{option.envvar}` |\n"


def _value(kind: str) -> str:
    """Return what stands for a value of this type."""
    return next(
        (
            word
            for part, word in (("int", "N"), ("float", "NUMBER"), ("Path", "FILE"))
            if part in kind
        ),
        "TEXT",
    )


def _default(option: Any) -> str:
    value = option.default
    return "" if value is None or value is False or callable(value) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    if "--print" in sys.argv[1:]:
        sys.stdout.write(reference())
    else:
        TARGET.write_text(reference(), encoding="utf-8")
