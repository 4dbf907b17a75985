"""`fb completion`."""

from __future__ import annotations

from typing import Annotated

import typer

from fbcli.console.output import Output
from fbcli.console.shells import SCRIPTS
from fbcli.errors import UsageError, did_you_mean

from ._flags.place import new_app

app = new_app()
IN_HELP = "Set-up", 5


@app.command(no_args_is_help=True)
def completion(
    shell: Annotated[
        str, typer.Argument(metavar="|".join(SCRIPTS), help="Which shell the script is for.")
    ],
) -> None:
    """Print the completion script of your shell.

    \b
      eval "$(fb completion bash)"                                 in ~/.bashrc
      source <(fb completion zsh)                                  in ~/.zshrc, after compinit
      fb completion fish > ~/.config/fish/completions/fb.fish
      fb completion powershell | Out-String | Invoke-Expression    in $PROFILE

    It completes commands, options, addresses and the parameters of their functions, queues, task
    ids of dead letters, contexts and broker URLs; without importing your code.
    """
    if shell not in SCRIPTS:
        raise UsageError(
            f"There is no script for {shell!r}.{did_you_mean(shell, SCRIPTS)} Shells:"
            f" {', '.join(SCRIPTS)}."
        )
    Output().text(SCRIPTS[shell].rstrip("\n"))
