"""The `fb` command itself: mounts the subcommands lazily, and turns errors into one sentence and an
exit code."""

from __future__ import annotations

import difflib
import importlib
import io
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from fbcli import __version__
from fbcli.errors import ExitCode, did_you_mean

from ._listing import commands, is_command
from ._startup import QuickGroup

CALLING = ("push", "call", "run")
"""Subcommands that take a function's arguments."""

COMPLETE = "__complete"
"""What the shells' completion scripts ask; not a command for people."""

EPILOG = (
    "Exit codes: 0 ok · 1 failed · 2 usage · 3 not found · 4 unreachable · 5 unsupported · 6"
    " refused · 7 timed out · 8 partly done · 130/143 signal. Every option has an FB_… variable."
)


class LazyGroup(QuickGroup):
    """Knows its subcommands by their files, and imports one when it runs."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        return list(commands())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if not is_command(cmd_name):
            return None
        if self._listing:
            entry = commands()[cmd_name]
            return TyperCommand(cmd_name, help=entry.help, rich_help_panel=entry.section)
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
        if not is_command(args[0]) and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], commands(), n=1, cutoff=0.5)
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
        importlib.import_module("fbcli.commands._complete").main(sys.argv[2:])
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
        typed = " ".join(["fb", *(word for word in sys.argv[1:2] if is_command(word))])
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
