"""The folder where the children of a trial live, and how they are started there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from fbcli.chaos.ledger import FOLDER
from fbcli.errors import FbError
from fbcli.platform import system
from fbcli.processes.command import python_command
from fbcli.processes.restarts import Restarts
from fbcli.settings import FILE, Settings

TRIES = 5
"""After so many ends in a row that nobody asked for, with no progress between them, there is no use
in another start."""

LAST_WORDS = 2000
"""Characters of a log that are shown when those who wrote it do not stay alive."""


class TrialFolder:
    """Holds the ledger, logs, and settings of its own, so that only what the trial says holds for
    the children."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        (folder / FILE).touch()
        self.environment = environment(settings, folder, os.environ)

    def start(
        self, log: str, entry: str, *words: str, stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """Start a process that calls `entry`, a function of fbcli, with these words as its
        arguments, in a group of its own; what it prints goes to a file."""
        with open(self.folder / log, "ab") as file:
            return subprocess.Popen(
                python_command(entry, *words),
                cwd=self.folder,
                env=self.environment,
                stdin=stdin,
                stdout=file,
                stderr=file,
                **system.own_group,
            )

    def last_words(self, log: str) -> str:
        """Return the end of a log."""
        return (self.folder / log).read_text(errors="replace")[-LAST_WORDS:].strip()


def environment(settings: Settings, ledger: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the children: of fb's own variables only where broker, store and
    ledger are.

    URLs may hold passwords, and a command line can be read by everyone on the host.
    """
    plain = {name: value for name, value in inherited.items() if not name.startswith("FB_")}
    own = {
        "FB_BROKER": settings.broker_url,
        "FB_STORE": settings.store_url,
        FOLDER: str(ledger),
        "XDG_CONFIG_HOME": str(ledger),
    }
    return {**plain, **own}


class GivingUp:
    """Notices when those who end by themselves will not stop doing so."""

    def __init__(self, who: str, home: TrialFolder, log: str) -> None:
        self._who = who
        self._home = home
        self._log = log
        self._restarts = Restarts(TRIES, for_good=False)
        self._progress = 0

    def ended(self, code: int, progress: int) -> None:
        """One has ended that nobody asked to; `progress` grows while there is any. Raises `FbError`
        when it is hopeless."""
        if progress != self._progress:
            self._progress = progress
            self._restarts.worked()
        self._restarts.failed(0.0)
        if self._restarts.hopeless:
            raise FbError(
                f"The {self._who} do not stay alive: {TRIES} have ended one after the other,"
                f" the last with exit code {code}. Its last"
                f" words:\n{self._home.last_words(self._log)}"
            )
