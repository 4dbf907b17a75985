"""`fb version`."""

from __future__ import annotations

import platform

from fbcli import __version__
from fbcli.console.output import Output

from ._flags.place import JsonFlag, new_app

app = new_app()
IN_HELP = "Set-up", 6


@app.command()
def version(json: JsonFlag = False) -> None:
    """Print the version of fbcli and of Python.

    \b
      fb version
      fb version --json
    """
    out = Output(json=json)
    if json:
        out.object({"fbcli": __version__, "python": platform.python_version()})
    else:
        out.text(f"fbcli {__version__}, Python {platform.python_version()}")
