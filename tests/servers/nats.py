"""A private NATS server with JetStream."""

from __future__ import annotations

import socket

from tests.servers.process import ServerProcess
from tests.servers.programs import find_program


class NatsServer(ServerProcess):
    """What JetStream keeps lies in its folder, and survives a `restart`."""

    name = "nats"

    def __init__(self) -> None:
        self._program = find_program(["nats-server"], [], "apt install nats-server.")
        super().__init__()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return [
            *(str(self._program), "--jetstream", "--store_dir", str(self.folder / "data")),
            *("--addr", "127.0.0.1", "--port", str(self.port)),
        ]

    def answers(self) -> bool:
        """It speaks first: `INFO {…}`."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            return connection.recv(5) == b"INFO "
