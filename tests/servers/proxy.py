"""A TCP proxy that loses replies on purpose: what was asked is carried out, and the asker never
learns of it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from typing_extensions import Self


class Proxy:
    """Stands before a server on the loopback. `url` is the server's with the port replaced."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._marker: bytes | None = None

    def lose_reply(self, marker: bytes) -> None:
        """Break the connection of the next request that contains `marker`, once the server has
        answered it."""
        with self._lock:
            self._marker = marker

    @property
    def lost(self) -> bool:
        """Whether what `lose_reply` asked for has happened."""
        return self._marker is None

    def cut(self) -> None:
        """Break all connections now."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _end(*pair)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                for sock in (client, server):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._pairs.append((client, server))
                doomed = threading.Event()
                threading.Thread(
                    target=self._requests, args=(client, server, doomed), daemon=True
                ).start()
                threading.Thread(
                    target=self._replies, args=(client, server, doomed), daemon=True
                ).start()

    def _requests(
        self, client: socket.socket, server: socket.socket, doomed: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                with self._lock:
                    if self._marker is not None and self._marker in data:
                        doomed.set()
                        self._marker = None
                server.sendall(data)
        _end(client, server)

    def _replies(
        self, client: socket.socket, server: socket.socket, doomed: threading.Event
    ) -> None:
        with suppress(OSError):
            while (data := server.recv(65536)) and not doomed.is_set():
                client.sendall(data)
        _end(client, server)


def _end(*sockets: socket.socket) -> None:
    for sock in sockets:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()
