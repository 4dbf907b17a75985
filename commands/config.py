"""`fb config show`, `fb config check`."""

from __future__ import annotations

from typing import Annotated

import typer

from fbcli.console.output import Output
from fbcli.project.checkup import checkup, verdict
from fbcli.project.inspection import rows_of

from ._flags.call import imported
from ._flags.place import BrokerFlag, ContextFlag, JsonFlag, StoreFlag, new_app, settings_of

app = new_app("Show settings and where they come from; check them.")
IN_HELP = "Set-up", 2


@app.command()
def show(
    address: Annotated[
        str | None,
        typer.Argument(
            metavar="ADDRESS", help="Show the options of this function, too.", show_default=False
        ),
    ] = None,
    json: JsonFlag = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """Print each setting and where it comes from.

    \b
      fb config show
      fb config show mymod:task
      fb config show mymod:task --json | jq -r 'select(.setting == "qps").value'

    Flags win over FB_… variables, these over @boost(…), \\[tasks."ADDRESS"] and
    \\[defaults] of fb.toml, and built-in values. Passwords are not shown.
    """
    out = Output(json=json)
    settings = settings_of(context, broker, store)
    booster = imported(address, settings) if address else None
    out.table(("setting", "value", "source"), rows_of(settings, booster))


@app.command()
def check(
    json: JsonFlag = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """Check fb.toml, the addresses in it, and whether broker and store answer.

    \b
      fb config check
      fb config check --context prod && fb consume mymod:task

    Exit code: 0 all is well, 2 a setting cannot be used, 3 a function is not
    there, 4 broker or store does not answer; of several the first. Imports
    nothing of yours.
    """
    out = Output(json=json)
    findings = list(checkup(settings_of(context, broker, store)))
    out.table(
        ("check", "ok", "detail"),
        [(finding.check, finding.ok, finding.detail) for finding in findings],
    )
    raise typer.Exit(verdict(findings))
