"""`fb push`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from fbcli.arguments.formats import FORMATS
from fbcli.arguments.shell import Template, parse_pairs
from fbcli.console.output import Output
from fbcli.console.pushing import Pushing
from fbcli.errors import UsageError, did_you_mean
from fbcli.pushing.feed import Feed

from ._flags.call import (
    ExpiresFlag,
    IdFlag,
    PriorityFlag,
    QueueFlag,
    RetriesFlag,
    TimeoutFlag,
    WordsArgument,
    given,
    target,
)
from ._flags.place import (
    BrokerFlag,
    ContextFlag,
    DryRunFlag,
    JsonFlag,
    StoreFlag,
    new_app,
    settings_of,
)

if TYPE_CHECKING:
    from fbcli.arguments.records import Pipe, Record

app = new_app()
IN_HELP = "Work", 1

MANY = "Many at once"


@app.command(no_args_is_help=True)
def push(
    words: WordsArgument = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            envvar="FB_PUSH_FROM",
            metavar="FILE",
            help="One message a record of this NDJSON, CSV or JSON file; -: of stdin.",
            rich_help_panel=MANY,
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            envvar="FB_PUSH_FORMAT",
            metavar="|".join(FORMATS),
            help=(
                "Format of the records; by default told by the file's name or its first character."
            ),
            rich_help_panel=MANY,
        ),
    ] = None,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad",
            envvar="FB_PUSH_SKIP_BAD",
            help="Leave bad records out and go on; exit code 8 then.",
            rich_help_panel=MANY,
        ),
    ] = False,
    count: Annotated[
        int | None,
        typer.Option(
            "--count",
            "-c",
            envvar="FB_PUSH_COUNT",
            metavar="N",
            min=1,
            help=(
                "So many messages; values may hold {{Count}} {{Index}} {{ID}} {{TimeStamp}}"
                " {{Unix}} {{Random 1 6}}."
            ),
            rich_help_panel=MANY,
        ),
    ] = None,
    ids: Annotated[
        bool,
        typer.Option(
            "--ids",
            envvar="FB_PUSH_IDS",
            help="Print the task id of each message.",
            rich_help_panel=MANY,
        ),
    ] = False,
    delay: Annotated[
        str | None,
        typer.Option(
            "--delay",
            envvar="FB_PUSH_DELAY",
            metavar="DURATION",
            help="Start it no sooner than in 60, 10m, 1h30m, 7d.",
            rich_help_panel="Message",
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            envvar="FB_PUSH_AT",
            metavar="TIME",
            help="Start it no sooner than 18:00, '2026-12-24 18:00', ISO 8601, Unix seconds.",
            rich_help_panel="Message",
        ),
    ] = None,
    priority: PriorityFlag = None,
    timeout: TimeoutFlag = None,
    retries: RetriesFlag = None,
    expires: ExpiresFlag = None,
    result: Annotated[
        bool,
        typer.Option(
            "--result",
            envvar="FB_PUSH_RESULT",
            help="Save what it returns.",
            rich_help_panel="Message",
        ),
    ] = False,
    unique: Annotated[
        bool,
        typer.Option(
            "--unique",
            envvar="FB_PUSH_UNIQUE",
            help="Refuse it (exit code 6) while the same call is queued or running.",
            rich_help_panel="Message",
        ),
    ] = False,
    dedupe_key: Annotated[
        str | None,
        typer.Option(
            "--dedupe-key",
            envvar="FB_PUSH_DEDUPE_KEY",
            metavar="TEXT",
            help=(
                "What counts as the same call, for --unique and --dedupe, instead of the arguments."
            ),
            rich_help_panel="Message",
        ),
    ] = None,
    id: IdFlag = None,
    json: JsonFlag = False,
    dry_run: DryRunFlag = False,
    queue: QueueFlag = None,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """Publish a call of a function: one, many from a file, or a series.

    \b
      fb push mymod:task x=1 y=2
      fb push mymod:task tags:='["a", "b"]' text=@letter.txt --delay 10m
      fb push mymod:task --from calls.csv
      generate-calls | fb push mymod:task - y=2
      fb push mymod:task x={{Count}} --count 1000
      fb push mymod:task x=1 --unique
      fb push --queue other.queue x=1

    Prints the task id once the broker has the message. A record may hold
    "extra": {"priority": 9, …}, options of its own.
    """
    out = Output(json=json)
    goal = target(words, queue, settings_of(context, broker, store))
    options = given(
        delay=delay,
        at=at,
        priority=priority,
        timeout=timeout,
        retries=retries,
        expires=expires,
        result=result,
        unique=unique,
        dedupe_key=dedupe_key,
        task_id=id,
    )
    pushing = Pushing(out, goal.booster, options, dry_run=dry_run, ids=ids)
    piped = "-" in goal.tokens or str(source) == "-"
    tokens = [token for token in goal.tokens if token != "-"]
    if id and (piped or source or count):
        raise UsageError("--id names one message, not many.")
    if count and (piped or source):
        raise UsageError("Give --count or records, not both.")
    if format and format not in FORMATS:
        raise UsageError(
            f"There is no format {format!r}.{did_you_mean(format, FORMATS)} Formats are"
            f" {', '.join(FORMATS)}."
        )
    if piped or source:
        common = parse_pairs(tokens, goal.signature)
        scan = partial(_records().scan_records, format=format, signature=goal.signature)
        if piped:
            pushing.many(lambda feed: scan(_stdin(feed)), common=common, skip_bad=skip_bad)
        elif source:
            total = _records().count_lines(source) if out.live else None
            with _records().open_file(source) as file:
                pushing.many(
                    lambda feed: scan(file, name=str(source)),
                    common=common,
                    skip_bad=skip_bad,
                    total=total,
                )
    elif count:
        template = Template(tokens, goal.signature)
        pushing.many(lambda feed: _series(template, count), total=count)
    else:
        pushing.one(parse_pairs(tokens, goal.signature))


def _series(template: Template, count: int) -> Iterator[Record]:
    record = _records().Record
    for index, arguments in enumerate(template.expand(count), 1):
        yield record(f"message {index}", arguments)


def _stdin(feed: Feed) -> Pipe:
    """Return stdin, of which nothing is kept back while it is slow. Raises `UsageError` when a
    person would have to type it."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(
            "- reads records from stdin, and stdin is a terminal. Pipe them: cat calls.ndjson | fb"
            " push ADDRESS -; or name a file: fb push ADDRESS --from calls.ndjson"
        )
    pipe: Pipe = _records().Pipe(sys.stdin.fileno(), feed.flush)
    return pipe


def _records() -> ModuleType:
    from fbcli.arguments import records  # noqa: PLC0415  csv and more, for many messages only

    return records
