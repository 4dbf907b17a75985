"""Flags that many commands share: one name, one meaning, one variable for each, everywhere."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from fbcli.errors import UsageError
from fbcli.settings import Settings, load
from fbcli.values.durations import parse_duration

from .._startup import QuickGroup, QuickTyper, at_end

BrokerFlag = Annotated[
    str | None,
    typer.Option(
        "--broker",
        "-b",
        envvar="FB_BROKER",
        metavar="URL",
        help="Broker, instead of the context's.",
        rich_help_panel="Where",
    ),
]
StoreFlag = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="FB_STORE",
        metavar="URL",
        help="Store, instead of the one beside the broker.",
        rich_help_panel="Where",
    ),
]
ContextFlag = Annotated[
    str | None,
    typer.Option(
        "--context",
        envvar="FB_CONTEXT",
        metavar="NAME",
        help=r"A context of fb.toml: \[contexts.NAME].",
        rich_help_panel="Where",
    ),
]
JsonFlag = Annotated[
    bool,
    typer.Option(
        "--json", envvar="FB_JSON", help="Print JSON, an object a line, and nothing else on stdout."
    ),
]
YesFlag = Annotated[
    bool, typer.Option("--yes", "-y", envvar="FB_YES", help="Do it without asking.")
]
DryRunFlag = Annotated[
    bool,
    typer.Option(
        "--dry-run", "-n", envvar="FB_DRY_RUN", help="Say what would be done, and do nothing."
    ),
]
QUEUE_HELP = "A queue's name, or a function's address: its queue."
QueueArgument = Annotated[str, typer.Argument(metavar="QUEUE", help=QUEUE_HELP)]
QueuesArgument = Annotated[list[str], typer.Argument(metavar="QUEUE", help=QUEUE_HELP)]
NoInputFlag = Annotated[
    bool, typer.Option("--no-input", envvar="FB_NO_INPUT", help="Never ask; refuse instead.")
]


def new_app(help: str = "") -> typer.Typer:
    """Return the typer app of one subcommand: a single command, or a group of some when it has a
    `help` of its own."""
    app = QuickTyper(
        cls=QuickGroup,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    if help:
        app.callback(help=help)(lambda: None)
    return app


def seconds_of(text: str, flag: str) -> float:
    """Return the seconds that a duration given to `flag` means. Raises `UsageError`."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}.") from None


def settings_of(context: str | None, broker: str | None, store: str | None = None) -> Settings:
    """Return the settings under these flags."""
    settings = load(
        context=context, broker=_flag(broker, "FB_BROKER"), store=_flag(store, "FB_STORE")
    )
    at_end.callback(settings.close)
    return settings


def _flag(value: str | None, variable: str) -> str | None:
    """Return None for what came from the variable: `load` reads it by itself, and tells where it
    came from."""
    return None if value == os.environ.get(variable) else value
