"""The person's own editor on a piece of text."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from fbcli.console.output import Output
from fbcli.errors import UsageError


def edit(out: Output, text: bytes, *, name: str, instead: str) -> tuple[bytes, Path]:
    """Return what a person made of `text` in `$VISUAL`, `$EDITOR` or vi, and the file, which stays
    until `discard` removes it.

    `name` ends with the suffix that tells editors what it is; `instead` is what to do where there
    is no terminal. Raises `UsageError` without a terminal, and when the editor cannot be started or
    fails.
    """
    if not (out.stdin.isatty() and out.stderr.isatty()):
        raise UsageError(f"There is no terminal for an editor. {instead}")
    command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    file = Path(tempfile.mkdtemp(prefix="fb-edit-")) / name
    file.touch(mode=0o600)
    file.write_bytes(text)
    try:
        code = subprocess.run([*command, str(file)], check=False).returncode
    except OSError as error:
        discard(file)
        raise UsageError(
            f"The editor {command[0]!r} cannot be started ({error.strerror}); set EDITOR. {instead}"
        ) from None
    if code:
        discard(file)
        raise UsageError(f"The editor {command[0]!r} ended with code {code}; nothing was changed.")
    return file.read_bytes(), file


def discard(file: Path) -> None:
    """Remove an edited file with its folder."""
    file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # an editor may have left a backup beside it
        file.parent.rmdir()
