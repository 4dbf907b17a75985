"""The `fb` command itself: mounts the subcommands lazily, and turns errors into one sentence and an exit code."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from fbcli.errors import ExitCode, FbError


class Entry(NamedTuple):
    """What `fb --help` shows of a subcommand."""

    group: str
    help: str


COMMANDS = {
    "push": Entry("Work", "Publish a call of a function: one, many from a file, or a series."),
    "call": Entry("Work", "Push a call and wait for its result."),
    "consume": Entry("Work", "Run what was pushed, with a live table."),
    "run": Entry("Work", "Call a function here and now, without any queue."),
    "queues": Entry("Queues", "List queues and how much they hold."),
    "peek": Entry("Queues", "Show the next messages without taking them."),
    "clear": Entry("Queues", "Remove all messages of a queue."),
    "pause": Entry("Queues", "Stop all consumers of a queue from taking more."),
    "resume": Entry("Queues", "End a pause."),
    "wait": Entry("Queues", "Wait until a queue is empty and nothing of it is running."),
    "dead": Entry("Queues", "List, show, edit, replay and clear dead letters."),
    "delayed": Entry("Queues", "List and cancel messages that wait for their time."),
    "init": Entry("Set-up", "Write an fb.toml to start from."),
    "config": Entry("Set-up", "Show settings and where they come from; check them."),
    "brokers": Entry("Set-up", "List brokers and what each can do."),
    "completion": Entry("Set-up", "Print the completion script of your shell."),
    "version": Entry("Set-up", "Print the version."),
}
"""`fb --help` is shown from this table and imports no subcommand; `fb NAME` imports `commands/NAME.py` alone."""

EPILOG = (
    "Exit codes: 0 ok · 1 failed · 2 usage · 3 not found · 4 unreachable · 5 unsupported · 6 refused · 7 timed out · "
    "8 partly done · 130/143 signal. Every option has an FB_… variable."
)


class LazyGroup(TyperGroup):
    """Knows its subcommands by the table, and imports one when it runs."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        entry = COMMANDS[cmd_name]
        if self._listing:
            return TyperCommand(cmd_name, help=entry.help, rich_help_panel=entry.group)
        command = typer.main.get_command(importlib.import_module(f"fbcli.commands.{cmd_name}").app)
        command.name = cmd_name
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        self._listing = True
        return super().shell_complete(ctx, incomplete)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], COMMANDS, n=1, cutoff=0.5)
            hint = f"Did you mean 'fb {close[0]}'?" if close else "`fb --help` lists the commands."
            ctx.fail(f"There is no command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)


@app.callback()
def fb() -> None:
    """Turn any Python function into a distributed, rate-controlled, never-lost task.

    \b
      fb push mymod:task x=1           publish a call; no decorator needed
      fb consume mymod:task --qps 5    run what was pushed, five a second
      fb queues                        see what waits where
    """


def main() -> None:
    """Entry point of the installed `fb`."""
    try:
        app(prog_name="fb")
    except FbError as error:
        print(f"fb: {error}", file=sys.stderr)  # noqa: T201  the one place where errors are shown
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.FAILED)
