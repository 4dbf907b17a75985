"""How a command that failed says so: a sentence on stderr, and an exit code. `FB_DEBUG=1` shows the
traceback as well."""

from __future__ import annotations

import os
import sys
import traceback

from fbcli.clients.loading import mask
from fbcli.console.output import Output, visible
from fbcli.errors import ExitCode, FbError, TaskFailed


def report(error: BaseException) -> ExitCode:
    """Tell the person what went wrong, and return the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(
        error, BrokenPipeError
    ):  # `fb … | head`: nobody reads any more, so the rest is not written at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    debug = os.environ.get("FB_DEBUG", "") not in ("", "0")
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, TaskFailed) and error.traceback:
        _say(error.traceback)
    if isinstance(error, FbError):
        _say(f"fb: {mask(str(error))}")
        return error.exit_code
    if isinstance(error, OSError):  # a full disk, a stream that is gone: not fbcli's doing
        _say(f"fb: {error}")
        return ExitCode.FAILED
    _say(f"fb: this is a bug in fbcli: {type(error).__name__}: {error}{_place(error)}.")
    _say(
        "Please report it, with what this prints:  FB_DEBUG=1 fb …"
        if not debug
        else "Please report it, with the above."
    )
    return ExitCode.FAILED


def report_usage(message: str, command: str) -> ExitCode:
    """Tell the person that a command line makes no sense, and where to read on; return the exit
    code."""
    _say(f"{command}: {message}\nTry: {command} --help")
    return ExitCode.USAGE


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _say(text: str) -> None:
    Output().say("\n".join(map(visible, text.expandtabs().split("\n"))))
