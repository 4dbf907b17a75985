"""The `fb` command itself: mounts the subcommands lazily, and turns errors into one sentence and an
exit code."""

from __future__ import annotations

import difflib
import importlib
import io
import sys
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

from fbcli import __version__
from fbcli.errors import ExitCode, did_you_mean

from ._startup import QuickGroup


class CommandEntry(NamedTuple):
    """What `fb --help` shows of a subcommand."""

    group: str
    help: str


COMMANDS = {
    "push": CommandEntry(
        "Work", "Publish a call of a function: one, many from a file, or a series."
    ),
    "call": CommandEntry("Work", "Push a call and wait for its result."),
    "consume": CommandEntry("Work", "Run what was pushed to the queues of these functions."),
    "run": CommandEntry("Work", "Call a function here and now, without any queue."),
    "queues": CommandEntry("Queues", "List queues and how much they hold."),
    "peek": CommandEntry("Queues", "Show the next messages of a queue without taking them."),
    "clear": CommandEntry("Queues", "Remove all messages of a queue, ready and delayed."),
    "pause": CommandEntry(
        "Queues", "Stop all consumers of a queue from taking more; what runs goes on."
    ),
    "resume": CommandEntry("Queues", "End a pause: the consumers of a queue go on."),
    "limit": CommandEntry(
        "Queues", "Change rate and concurrency of live consumers, or show what is in force."
    ),
    "wait": CommandEntry("Queues", "Wait until queues are empty and nothing of them is running."),
    "dead": CommandEntry(
        "Queues", "List, show, edit, replay and clear dead letters: messages that failed for good."
    ),
    "delayed": CommandEntry("Queues", "List and cancel messages that wait for their time."),
    "results": CommandEntry("Tasks", "List the newest results."),
    "show": CommandEntry(
        "Tasks", "Show how tasks stand: running or ended, what they returned, or why they failed."
    ),
    "cancel": CommandEntry(
        "Tasks", "Cancel tasks: queued ones never start, running ones are interrupted."
    ),
    "init": CommandEntry("Set-up", "Write an fb.toml to start from."),
    "config": CommandEntry("Set-up", "Show settings and where they come from; check them."),
    "brokers": CommandEntry("Set-up", "List brokers and what each can do."),
    "chaos": CommandEntry(
        "Set-up", "Try whether a broker, as its server is set up, loses anything."
    ),
    "completion": CommandEntry("Set-up", "Print the completion script of your shell."),
    "version": CommandEntry("Set-up", "Print the version of fbcli and of Python."),
}
"""`fb --help` is shown from this table and imports no subcommand; `fb NAME` imports
`commands/NAME.py` alone."""

CALLING = ("push", "call", "run")
"""Subcommands that take a function's arguments."""

COMPLETE = "__complete"
"""What the shells' completion scripts ask; not a command for people."""

EPILOG = (
    "Exit codes: 0 ok · 1 failed · 2 usage · 3 not found · 4 unreachable · 5 unsupported · 6"
    " refused · 7 timed out · 8 partly done · 130/143 signal. Every option has an FB_… variable."
)


class LazyGroup(QuickGroup):
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


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"fbcli {__version__}")
        raise typer.Exit


@app.callback()
def fb(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_version,
            is_eager=True,
            help="Print the version of fbcli and of Python.",
        ),
    ] = False,
) -> None:
    """Turn any Python function into a distributed, rate-controlled, never-lost task.

    \b
      fb push mymod:task x=1           publish a call; no decorator needed
      fb consume mymod:task --qps 5    run what was pushed, five a second
      fb queues                        see what waits where
    """


ClickUsageError: Any = typer.BadParameter.__mro__[1]
"""Base of what typer raises for a bad command line; typer has carried its own click since 0.26 and
used click's before."""


def main() -> None:
    """Run the command line that this process was started with, and end it."""
    if sys.argv[1:2] == [COMPLETE]:
        importlib.import_module("fbcli.commands.complete").main(sys.argv[2:])
    else:
        sys.exit(run())


def run() -> int:
    """Run the command line; return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # a terminal that lacks a character must not end a command
    try:
        code = app(prog_name="fb", standalone_mode=False)
        return code if isinstance(code, int) else ExitCode.OK
    except ClickUsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # it has shown the help
            return ExitCode.USAGE
        typed = " ".join(["fb", *(word for word in sys.argv[1:2] if word in COMMANDS)])
        return int(
            _failure().report_usage(
                _sentence(error), error.ctx.command_path if error.ctx else typed
            )
        )
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001
        # Whatever it is, it is told in a sentence.
        return int(_failure().report(error))


def _failure() -> Any:
    from fbcli.console import failure  # noqa: PLC0415  10 ms that a help or a success does not need

    return failure


def _sentence(error: Any) -> str:
    if type(error).__name__ == "NoSuchOption":
        close = did_you_mean(
            error.option_name, [name for option in error.ctx.command.params for name in option.opts]
        )
        hint = (
            " Arguments of the function are written without dashes: x=1."
            if error.ctx.command.name in CALLING
            else ""
        )
        return f"there is no option {error.option_name}.{close or hint}"
    text: str = error.format_message()
    return text[:1].lower() + text[1:]
