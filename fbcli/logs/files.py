"""A log file that several processes may write and rotate. Imported only where there is one."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from concurrent_log_handler import ConcurrentRotatingFileHandler

from fbcli.errors import UsageError
from fbcli.logs.careful import Careful


class FileHandler(Careful, ConcurrentRotatingFileHandler):
    """Appends to `file`; beyond `size` bytes it is renamed to `file.1` and so on, of which
    `backups` are kept.

    Raises `UsageError` where that cannot be done. Folders that are missing are made.
    """

    def __init__(self, file: Path, size: int, backups: int) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.open("ab").close()
            if not os.access(file.parent, os.W_OK | os.X_OK):
                raise PermissionError(
                    0, f"its folder {file.parent} cannot be written, which rotating needs"
                )
        except OSError as error:
            raise UsageError(
                f"The log file {str(file)!r} cannot be written: {error.strerror or error}."
            ) from None
        super().__init__(
            str(file),
            maxBytes=size,
            backupCount=backups,
            encoding="utf-8",
            newline="",
            unicode_error_policy="replace",
        )

    def filter(self, record: logging.LogRecord) -> bool:
        """A record that a child process has written here by itself is left out."""
        return not record.__dict__.get("filed") and bool(super().filter(record))
