"""Raw connections to Redis: one round trip for many commands, a request that may stay outstanding, and a way to be woken.

redis-py's own client costs as much per command as the server itself; here its connections and parser are used directly.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Sequence
from time import monotonic
from typing import Any, Protocol, cast

from fbcli.connection import load_library
from fbcli.redis_client import connect

from .redis_scripts import Script

Word = str | bytes | int | float
BLOCK_GRACE = 5.0
"""Seconds after which a blocking command that should have ended by itself counts as lost with its connection."""


class _Connection(Protocol):
    """The part of redis-py's connection that is used here; the same in every version since 5."""

    _sock: socket.socket | None

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def pack_command(self, *words: Word) -> list[bytes]: ...
    def send_packed_command(self, command: list[bytes], check_health: bool = True) -> None: ...
    def read_response(self) -> Any: ...


class Reach:
    """The way to the servers behind a URL: which of them has a key, and new connections to it. Thread-safe."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Any = None
        self._lock = threading.Lock()
        self.cluster = url.startswith("redis+cluster:")
        self.errors: Any = None

    def connect(self, key: str) -> _Connection:
        """Return a new connection to the server that has `key`."""
        client = self.client()
        try:
            pool = client.connection_pool if not self.cluster else self._node_pool(client, key)
            connection = pool.connection_class(**pool.connection_kwargs)
            connection.connect()
        except (self.errors.ConnectionError, self.errors.TimeoutError):
            self.look_again()
            raise
        return cast(_Connection, connection)

    def where(self, key: str) -> str:
        """Return the name of the server that has `key`; all keys of one name may share a connection."""
        return str(self.client().get_node_from_key(key).name) if self.cluster else ""

    def look_again(self) -> None:
        """Ask a cluster anew which node has what, after one of them moved or died."""
        if self.cluster:
            self.client().nodes_manager.initialize()

    def client(self) -> Any:
        """redis-py's client, made at first use (a cluster's connects at once)."""
        if self._client is None:
            with self._lock:
                if self._client is None:
                    self.errors = load_library("redis.exceptions", extra="redis")
                    self._client = connect(self._url)
        return self._client

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @staticmethod
    def _node_pool(client: Any, key: str) -> Any:
        return client.get_redis_connection(client.get_node_from_key(key)).connection_pool


class Link:
    """One connection to the server that has `key`, made anew when it broke. Used by one thread at a time."""

    def __init__(self, reach: Reach, key: str, *, identify: bool = False) -> None:
        self._reach, self._identify = reach, identify
        self.key = key
        self._connection: _Connection | None = None
        self._pid = 0
        self.client_id = 0
        """What the server calls this connection, when asked to `identify`."""

    @property
    def alive(self) -> bool:
        return self._connection is not None

    def call(self, *commands: Sequence[Word]) -> list[Any]:
        """Send commands together, return their replies. Raises redis-py's errors, an error reply only after the last.

        Note: when the connection breaks in between, nobody knows which of them were carried out.
        """
        replies = self._exchange(commands)
        if self._reach.cluster and any(isinstance(reply, self._reach.errors.MovedError) for reply in replies):
            self.close()
            self._reach.look_again()
            replies = self._exchange(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                if isinstance(reply, self._reach.errors.ReadOnlyError):
                    self.close()  # a primary no more: its name may lead to the new one by now
                raise reply
        return replies

    def run(self, script: Script, keys: Sequence[str], *arguments: Word) -> Any:
        """Run a script, loading it when the server does not know it (yet, or any more after a restart)."""
        try:
            return self.call(("EVALSHA", script.sha, len(keys), *keys, *arguments))[0]
        except self._reach.errors.NoScriptError:
            return self.call(("EVAL", script.text, len(keys), *keys, *arguments))[0]

    def send(self, *words: Word) -> None:
        """Send one command whose reply is fetched later, with `receive`."""
        connection = self._ready_connection()
        try:
            connection.send_packed_command(connection.pack_command(*words), check_health=False)
        except BaseException:
            self.close()
            raise

    def receive(self) -> Any:
        """Wait for the next reply and return it, error replies too."""
        if self._connection is None:
            raise self._reach.errors.ConnectionError("the connection was closed")
        try:
            return self._connection.read_response()
        except self._reach.errors.ResponseError as reply:
            return reply
        except BaseException:
            # Half a reply may be left in it: whoever used it next would read somebody else's answer.
            self.close()
            raise

    def socket(self) -> socket.socket | None:
        return self._connection._sock if self._connection is not None else None

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def _exchange(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        connection = self._ready_connection()
        try:
            packed = connection.pack_command(*commands[0])
            for command in commands[1:]:
                packed += connection.pack_command(*command)
            connection.send_packed_command(packed, check_health=False)
        except BaseException:
            self.close()
            raise
        return [self.receive() for _ in commands]

    def _ready_connection(self) -> _Connection:
        """Return a connection that was alive a moment ago. With no reply outstanding, anything to read is its end:
        so a server that was restarted meanwhile is noticed before anything is sent, and nothing is ever sent twice."""
        connection = self._connection
        if connection is not None:
            sock = connection._sock
            if sock is None or self._pid != os.getpid() or readable((sock,), 0):
                self.close()
                connection = None
        if connection is None:
            connection = self._connection = self._reach.connect(self.key)
            self._pid = os.getpid()
            if self._identify:
                connection.send_packed_command(connection.pack_command("CLIENT", "ID"), check_health=False)
                self.client_id = self.receive()
        return connection


class Links:
    """Connections to lend, one per call at a time. Thread-safe, and safe after a fork."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._idle: dict[str, list[Link]] = {}
        self._closed = False

    def call(self, key: str, *commands: Sequence[Word]) -> list[Any]:
        """As `Link.call`, on any idle connection to the server that has `key`."""
        link, server = self._borrow(key)
        try:
            return link.call(*commands)
        finally:
            self._return(link, server)

    def run(self, script: Script, keys: Sequence[str], *arguments: Word) -> Any:
        """As `Link.run`; the first key says where."""
        link, server = self._borrow(keys[0])
        try:
            return link.run(script, keys, *arguments)
        finally:
            self._return(link, server)

    def close(self) -> None:
        self._closed = True
        for idle in self._idle.values():
            while idle:
                idle.pop().close()

    def _borrow(self, key: str) -> tuple[Link, str]:
        server = self._reach.where(key)
        try:
            link = self._idle.setdefault(server, []).pop()
        except IndexError:
            return Link(self._reach, key), server
        link.key = key
        return link, server

    def _return(self, link: Link, server: str) -> None:
        if self._closed or (self._reach.cluster and self._reach.where(link.key) != server):
            link.close()  # in a cluster, its key has moved, and the connection with it
        elif link.alive:
            self._idle[server].append(link)


class BlockedPop:
    """A blocking command on a connection of its own, whose reply may be fetched later, or never wanted any more."""

    def __init__(self, reach: Reach, key: str) -> None:
        self._reach = reach
        self._link = Link(reach, key, identify=True)
        self.expires: float | None = None
        """Monotonic time by which it must have been answered; None while nothing is outstanding."""
        self._ended_by = 0.0

    def begin(self, *words: Word, timeout: float) -> None:
        """Send a command that blocks for up to `timeout` seconds (its last argument)."""
        self._link.send(*words, f"{timeout:.3f}")
        self.expires = self._ended_by = monotonic() + timeout + BLOCK_GRACE

    def socket(self) -> socket.socket | None:
        """What to poll; None while nothing is outstanding."""
        return self._link.socket() if self.expires is not None else None

    def finish(self) -> Any:
        """Return the reply; None: it timed out, or the connection broke, and then nobody knows what it was handed."""
        self.expires = None
        errors = self._reach.errors
        try:
            reply = self._link.receive()
        except (errors.ConnectionError, errors.TimeoutError):
            return None  # whoever asks next will meet the trouble, if it lasts
        self._ended_by = 0.0
        if isinstance(reply, errors.MovedError):
            self._link.close()
            self._reach.look_again()
            return None
        if isinstance(reply, errors.ResponseError):
            if str(reply).startswith("UNBLOCKED"):  # the server became a replica
                self._link.close()
                return None
            raise reply
        return reply

    def cancel(self, link: Link) -> Any:
        """End it by way of `link`; return what it was handed in the last moment, if anything."""
        if self.expires is None:
            return None
        try:
            link.call(("CLIENT", "UNBLOCK", self._link.client_id))
        except self._reach.errors.ResponseError:
            self.drop()  # an ACL may forbid it
            return None
        return self.finish()

    def lingers(self) -> bool:
        """Whether the server may still hold one whose connection broke, and hand something to nobody."""
        return monotonic() < self._ended_by

    def drop(self) -> None:
        self.expires = None
        self._link.close()


class Waker:
    """A flag that a poll sees: set from any thread, taken by one."""

    def __init__(self) -> None:
        self.socket, self._far_end = socket.socketpair()
        self.socket.setblocking(False)
        self._far_end.setblocking(False)
        self._set = False

    def set(self) -> None:
        if not self._set:
            self._set = True
            try:
                self._far_end.send(b"\0")
            except OSError:
                pass  # full: it is awake as can be. Closed: nobody sleeps any more.

    def take(self) -> bool:
        """Return whether it was set, and clear it."""
        return self._set and self.drain()

    def drain(self) -> bool:
        """As `take`, for one whose `socket` was seen readable.

        Note: emptied first, cleared then. The other way round, a `set` in between would leave the flag up without a byte
        behind it, and nobody could wake it any more.
        """
        try:
            found = bool(self.socket.recv(64))
        except OSError:
            found = False
        was_set, self._set = self._set, False
        return found or was_set

    def close(self) -> None:
        self.socket.close()
        self._far_end.close()


def readable(sockets: Sequence[socket.socket], timeout: float) -> bool:
    """Wait up to `timeout` seconds (an hour at most) until one of them has something to read, or its end."""
    timeout = min(max(0.0, timeout), 3600.0)
    if any(getattr(sock, "pending", int)() for sock in sockets):
        return True  # TLS: decrypted already, so the kernel has nothing to show
    if hasattr(select, "poll"):
        poll = select.poll()
        for sock in sockets:
            poll.register(sock, select.POLLIN)
        return bool(poll.poll(timeout * 1000))
    return bool(select.select(sockets, (), (), timeout)[0])  # Windows; eventlet's green select has no poll
