"""What `fb push`, `fb call` and `fb run` share: a function and its arguments, and the options of
one message."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import typer

from fbcli.arguments.signature import Signature
from fbcli.booster import Booster, find_booster, named_booster
from fbcli.errors import UsageError
from fbcli.settings import Settings

WordsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ADDRESS [NAME=VALUE…]",
        help=(
            "A function, like mymod:task or jobs/crawl.py:fetch, and its arguments: x=1, x:=JSON,"
            " x=@FILE, x:=@FILE.json."
        ),
        show_default=False,
    ),
]
TimeoutFlag = Annotated[
    str | None,
    typer.Option(
        "--timeout",
        envvar="FB_PUSH_TIMEOUT",
        metavar="DURATION",
        help="How long it may run.",
        rich_help_panel="Message",
    ),
]
RetriesFlag = Annotated[
    int | None,
    typer.Option(
        "--retries",
        envvar="FB_PUSH_RETRIES",
        min=0,
        help="How often it is tried again.",
        rich_help_panel="Message",
    ),
]
ExpiresFlag = Annotated[
    str | None,
    typer.Option(
        "--expires",
        envvar="FB_PUSH_EXPIRES",
        metavar="DURATION",
        help="Drop it unless it has started by then.",
        rich_help_panel="Message",
    ),
]
PriorityFlag = Annotated[
    int | None,
    typer.Option(
        "--priority",
        envvar="FB_PUSH_PRIORITY",
        min=0,
        max=9,
        help="0 (ordinary) to 9 (first).",
        rich_help_panel="Message",
    ),
]
IdFlag = Annotated[
    str | None,
    typer.Option(
        "--id",
        envvar="FB_PUSH_ID",
        metavar="TEXT",
        help="Its task id, instead of a new one.",
        rich_help_panel="Message",
    ),
]
QueueFlag = Annotated[
    str | None,
    typer.Option(
        "--queue",
        "-q",
        envvar="FB_PUSH_QUEUE",
        metavar="NAME",
        help="Publish to this queue; without an ADDRESS nothing is imported and nothing checked.",
        rich_help_panel="Where",
    ),
]

_ARGUMENT = re.compile(r"\w[\w.-]*:?=|-$")


class Target(NamedTuple):
    """What a command line calls."""

    booster: Booster[Any, Any]
    signature: Signature | None
    """None: only the queue is known."""
    tokens: list[str]
    """The arguments, as they were typed."""


def target(words: Sequence[str] | None, queue: str | None, settings: Settings) -> Target:
    """Return what `ADDRESS name=value…` calls; with `queue` and no address that queue, and nothing
    is imported."""
    words = list(words or ())
    if queue and (not words or _ARGUMENT.match(words[0])):
        return Target(named_booster(queue, settings), None, words)
    if not words:
        raise UsageError("Name a function, like mymod:task, or a queue by --queue NAME.")
    booster = imported(words[0], settings, {"queue": queue} if queue else None)
    return Target(booster, booster.signature, words[1:])


def imported(
    address: str, settings: Settings, flags: Mapping[str, Any] | None = None
) -> Booster[Any, Any]:
    """Return the booster at an address. What its module prints when it is imported goes to stderr:
    it is nobody's data."""
    with contextlib.redirect_stdout(sys.stderr):
        return find_booster(address, settings, flags)


def given(**options: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {
        name: value for name, value in options.items() if value is not None and value is not False
    }
