"""Private Redis servers: one, a cluster of three, or a primary with a replica and a sentinel."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

from typing_extensions import Self

from tests.servers import ServerMissing, free_port, wait_until


def _binary() -> str:
    found = shutil.which("redis-server")
    if found is None:
        raise ServerMissing(
            "There is no redis-server on the PATH: apt install redis-server, or brew install redis."
        )
    return found


class RedisServer:
    """One redis-server. `with RedisServer(appendonly=True) as server: … server.url …`

    `restart` keeps the port and the folder, so data survive when `appendonly` is set (fsync always:
    also a `kill`).
    """

    def __init__(self, *options: str, appendonly: bool = False, sentinel: str = "") -> None:
        self._options = ["--appendonly", "yes", "--appendfsync", "always"] if appendonly else []
        self._options += options
        self._sentinel = sentinel
        self._binary = _binary()
        self._folder = Path(tempfile.mkdtemp(prefix="fb-redis-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> Self:
        """Start, and return once it answers. A port that was taken meanwhile is replaced by
        another."""
        for _ in range(5):
            with open(self._folder / "log", "ab") as log:
                self._process = process = subprocess.Popen(
                    self._command(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            wait_until(
                lambda process=process: process.poll() is not None or self._answers(),
                f"redis-server at {self.port}",
            )
            if process.poll() is None:
                return self
            self.port = free_port()
        raise RuntimeError(
            f"redis-server does not start: {(self._folder / 'log').read_text()[-2000:]}"
        )

    def stop(self) -> None:
        """Shut down in good order (TERM)."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As by a power cut (KILL)."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the process (STOP): connections stay open, nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill it and remove its folder."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def ask(self, *words: str) -> str:
        """Send one command over a connection of its own; return the raw reply."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _command(self) -> list[str]:
        common = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        if self._sentinel:
            configuration = self._folder / "sentinel.conf"
            configuration.write_text(self._sentinel)
            return [self._binary, str(configuration), "--sentinel", *common]
        return [self._binary, *common, "--save", "", *self._options]

    def _answers(self) -> bool:
        try:
            return self.ask("PING").startswith(("+PONG", "-NOAUTH"))
        except OSError:
            return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.send_signal(signal.SIGCONT)
            self._process.wait(timeout=15)


class RedisCluster:
    """Three nodes that share the slots; no replicas."""

    SLOTS = 16384

    def __init__(self) -> None:
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
