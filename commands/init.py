"""`fb init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fbcli.address.outline import find_addresses
from fbcli.clients.loading import mask
from fbcli.console.output import Output
from fbcli.project.starter import write_starter

from ._flags.place import JsonFlag, new_app

app = new_app()
IN_HELP = "Set-up", 1


@app.command()
def init(
    broker: Annotated[
        str | None,
        typer.Option(
            "--broker",
            "-b",
            envvar="FB_INIT_BROKER",
            metavar="URL",
            help="Where the queues are; else an SQLite file.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", "-f", envvar="FB_INIT_FORCE", help="Replace the fb.toml that is there."
        ),
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Write an fb.toml to start from.

    \b
      fb init
      fb init --broker 'redis://:${REDIS_PASSWORD}@10.0.0.5/0'

    It is not needed: without one, queues are kept in an SQLite file in the
    folder .fb. It names every option, as a comment.
    """
    out = Output(json=json)
    folder = Path.cwd()
    path = write_starter(folder, broker=broker, force=force)
    if json:
        out.object({"file": str(path)})
        return
    out.say(f"{path} is written.")
    if broker and mask(broker) != broker and "${" not in broker:
        out.say("It holds a password: write ${NAME} in its place, and put it into the environment.")
    address = next(
        (found for found in find_addresses(folder) if not found.endswith((":", "/"))), "mymod:task"
    )
    out.say(
        f"Next:\n  fb push {address} NAME=VALUE   publish a call\n  fb consume {address}          "
        " run what comes"
    )
