"""`fb run`."""

from __future__ import annotations

import contextlib
import sys

from fbcli.arguments.shell import parse_pairs
from fbcli.console.output import Output
from fbcli.pushing.calling import run as run_here

from ._flags.call import WordsArgument, target
from ._flags.place import ContextFlag, JsonFlag, new_app, settings_of

app = new_app()
IN_HELP = "Work", 4


@app.command(no_args_is_help=True)
def run(
    words: WordsArgument = None,
    json: JsonFlag = False,
    context: ContextFlag = None,
) -> None:
    """Call a function here and now, without any queue.

    \b
      fb run mymod:add x=1 y=2
      fb run jobs/crawl.py:fetch url=https://example.org
      fb run mymod:user id:=7 --json | jq .name

    `async def` is run, too. Prints what it returned, as JSON (a text as it is,
    unless --json; nothing for None). With --json, what the function itself
    prints goes to stderr. When it fails: its traceback on stderr, exit code 1.
    """
    out = Output(json=json)
    goal = target(words, None, settings_of(context, None))
    arguments = parse_pairs(goal.tokens, goal.signature)
    with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
        value = run_here(goal.booster, arguments)
    out.value(value)
