"""`fb consume`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fbcli.consuming.group import GroupSpec
from fbcli.consuming.run import ConsumeRun

from ._flags.options import given, with_option_flags
from ._flags.place import BrokerFlag, ContextFlag, JsonFlag, StoreFlag, new_app

app = new_app()
IN_HELP = "Work", 3


@app.command()
@with_option_flags
def consume(
    addresses: Annotated[
        list[str],
        typer.Argument(
            metavar="ADDRESS…", help="Functions to run, like mymod:task or jobs/crawl.py:fetch."
        ),
    ],
    burst: Annotated[
        bool,
        typer.Option(
            "--burst",
            envvar="FB_BURST",
            help="End when the queue is empty (what is delayed stays).",
        ),
    ] = False,
    max_tasks: Annotated[
        int | None,
        typer.Option(
            "--max-tasks",
            envvar="FB_MAX_TASKS",
            min=1,
            help="End after so many tasks (in each process).",
        ),
    ] = None,
    json: JsonFlag = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            envvar="FB_VERBOSE",
            help="A log line for each task, also beside the live table, and for what holds up any.",
        ),
    ] = False,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain",
            envvar="FB_PLAIN",
            help="No live table: log lines, as where there is no terminal.",
        ),
    ] = False,
    log_level: Annotated[
        str,
        typer.Option(
            "--log-level",
            envvar="FB_LOG_LEVEL",
            help="DEBUG, INFO, WARNING or ERROR.",
            rich_help_panel="Logging",
        ),
    ] = "INFO",
    log_file: Annotated[
        Path | None,
        typer.Option(
            "--log-file",
            envvar="FB_LOG_FILE",
            help="Log to this rotating file as well.",
            rich_help_panel="Logging",
        ),
    ] = None,
    log_json: Annotated[
        bool,
        typer.Option(
            "--log-json",
            envvar="FB_LOG_JSON",
            help="Log lines as JSON objects.",
            rich_help_panel="Logging",
        ),
    ] = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
    **options: Any,
) -> None:
    """Run what was pushed to the queues of these functions.

    \b
      fb consume mymod:task
      fb consume mymod:task --qps 5 --retries 5 --backoff 2
      fb consume a:f b:g --processes 2 --concurrency 50
      fb consume mymod:task --burst --json | jq .

    Ctrl-C (or TERM) stops: it fetches no more and finishes what runs, for up to --drain seconds;
    the rest goes back to the queue. A second one stops now. Exit code: 0 all that ran was finished;
    130 or 143 something was given back unfinished; with --burst or --max-tasks 8 when some calls
    failed for good, 1 when all did.
    """
    spec = GroupSpec(
        addresses=addresses,
        flags=given(options),
        context=context,
        broker=broker,
        store=store,
        burst=burst,
        max_tasks=max_tasks,
        events=json,
        verbose=verbose,
        log_level=log_level.upper(),
        log_file=str(log_file) if log_file else None,
        log_json=log_json,
    )
    ConsumeRun(spec, json=json, live=not plain).play()
