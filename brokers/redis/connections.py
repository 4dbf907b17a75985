"""Raw connections to Redis: which server has a key, one round trip for many commands, and nothing
ever sent twice.

redis-py's own client costs as much per command as the server itself; here its connections and
parser are used directly.
"""

from __future__ import annotations

import os
import socket
import threading
import weakref
from collections.abc import Sequence
from typing import Any, Protocol, cast

from fbcli.clients.loading import load_library
from fbcli.clients.lua import LuaScript
from fbcli.clients.redis import connect, error_word
from fbcli.platform.forks import PerProcess

from ..waiting import readable
from .lease import RedisAddress

Word = str | bytes | int | float

TLS = (
    "keyfile",
    "certfile",
    "certificate_password",
    "cert_reqs",
    "check_hostname",
    "ca_certs",
    "ca_path",
    "ca_data",
    "ssl_min_version",
    "ssl_ciphers",
)
"""What redis-py's connection calls what it knows of TLS."""


class _Connection(Protocol):
    """The part of redis-py's connection that is used here; the same in every version since 5."""

    _sock: socket.socket | None

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def pack_command(self, *words: Word) -> list[bytes]: ...
    def send_packed_command(self, command: list[bytes], check_health: bool = True) -> None: ...
    def read_response(self) -> Any: ...


class Reach:
    """The way to the servers behind a URL: which of them has a key, and new connections to it.
    Thread-safe."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: PerProcess[Any] = PerProcess()
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
        """Return the name of the server that has `key`; all keys of one name may share a
        connection."""
        return str(self.client().get_node_from_key(key).name) if self.cluster else ""

    def server(self, key: str) -> RedisAddress:
        """Return where the server is that has `key`, as a process can be told that has no
        redis-py."""
        client = self.client()
        pool = client.connection_pool if not self.cluster else self._node_pool(client, key)
        given = pool.connection_kwargs
        host, port = given.get("host", "localhost"), given.get("port", 6379)
        if hasattr(pool, "get_master_address"):  # behind sentinels
            host, port = pool.get_master_address()
        connection = pool.connection_class(**given)
        secure = hasattr(connection, "cert_reqs")
        tls = {name: getattr(connection, name, None) for name in TLS} if secure else None
        return RedisAddress(
            host,
            port,
            int(given.get("db") or 0),
            given.get("username"),
            given.get("password"),
            tls,
        )

    def look_again(self) -> None:
        """Ask a cluster anew which node has what, after one of them moved or died."""
        if self.cluster:
            self.client().nodes_manager.initialize()

    def client(self) -> Any:
        """redis-py's client, made at first use (a cluster's connects at once)."""
        return self._client.get(self._make_client)

    def _make_client(self) -> Any:
        self.errors = load_library("redis.exceptions", extra="redis")
        return connect(self._url)

    def close(self) -> None:
        client = self._client.take()
        if client is not None:
            client.close()

    @staticmethod
    def _node_pool(client: Any, key: str) -> Any:
        return client.get_redis_connection(client.get_node_from_key(key)).connection_pool


class RedisConnection:
    """One connection to the server that has `key`, made anew when it broke. Used by one thread at a
    time."""

    def __init__(self, reach: Reach, key: str, *, identify: bool = False) -> None:
        self._reach, self._identify = reach, identify
        self.key = key
        # A forked child closes its copy of the parent's socket, and says nothing over it.
        self._own: PerProcess[_Connection] = PerProcess(lambda inherited: inherited.disconnect())
        self.client_id = 0
        """What the server calls this connection, when asked to `identify`."""

    @property
    def alive(self) -> bool:
        return self._own.peek() is not None

    def call(self, *commands: Sequence[Word]) -> list[Any]:
        """Send commands together, return their replies. Raises redis-py's errors, an error reply
        only after the last.

        Note: when the connection breaks in between, nobody knows which of them were carried out.
        """
        replies = self._exchange(commands)
        if self._reach.cluster and any(
            isinstance(reply, self._reach.errors.MovedError) for reply in replies
        ):
            self.close()
            self._reach.look_again()
            replies = self._exchange(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                if error_word(reply) == "READONLY":
                    self.close()  # a primary no more: its name may lead to the new one by now
                raise reply
        return replies

    def run(self, script: LuaScript, keys: Sequence[str], *arguments: Word) -> Any:
        """Run a script, loading it when the server does not know it (yet, or any more after a
        restart)."""
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
        connection = self._own.peek()
        if connection is None:
            raise self._reach.errors.ConnectionError("the connection was closed")
        return self._reply_of(connection)

    def _reply_of(self, connection: _Connection) -> Any:
        try:
            return connection.read_response()
        except self._reach.errors.ResponseError as reply:
            return reply
        except BaseException:
            # Half a reply may be left in it: whoever used it next would read somebody else's
            # answer.
            self.close()
            raise

    def socket(self) -> socket.socket | None:
        connection = self._own.peek()
        return connection._sock if connection is not None else None

    def close(self) -> None:
        connection = self._own.take()
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
        return [self._reply_of(connection) for _ in commands]

    def _ready_connection(self) -> _Connection:
        """Return a connection that was alive a moment ago. With no reply outstanding, anything to
        read is its end: so a server that was restarted meanwhile is noticed before anything is
        sent, and nothing is ever sent twice."""
        connection = self._own.peek()
        if connection is not None:
            sock = connection._sock
            if sock is not None and not readable((sock,), 0):
                return connection
            self.close()
        connection = self._own.get(lambda: self._reach.connect(self.key))
        if self._identify:
            connection.send_packed_command(
                connection.pack_command("CLIENT", "ID"), check_health=False
            )
            self.client_id = self.receive()
        return connection


class RedisConnections:
    """Connections to lend, one per call at a time. Thread-safe, and safe after a fork.

    All brokers and consumers of a process that have the same URL share them (`shared`): a hundred
    consumers that are mostly idle need a few, not a hundred.
    """

    PLENTY = 4
    """With so many, one that is about to be given back is waited for a moment before another one is
    opened."""
    MOMENT = 0.02
    """Seconds. Longer a server takes only when it is far away or in trouble, and then nobody shall
    stand in a line for it."""

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self.users = 0
        """Brokers that have not been closed; without any, no connection is kept."""
        self._idle: dict[str, list[RedisConnection]] = {}
        self._least_idle: dict[str, int] = {}
        """How many were idle at the least, since that was last looked at."""
        self._returned = threading.Condition()
        self._lent = 0
        self._waiting = 0

    def call(self, key: str, *commands: Sequence[Word]) -> list[Any]:
        """As `RedisConnection.call`, on any idle connection to the server that has `key`."""
        link, server = self._borrow(key)
        try:
            return link.call(*commands)
        finally:
            self._return(link, server)

    def run(self, script: LuaScript, keys: Sequence[str], *arguments: Word) -> Any:
        """As `RedisConnection.run`; the first key says where."""
        link, server = self._borrow(keys[0])
        try:
            return link.run(script, keys, *arguments)
        finally:
            self._return(link, server)

    def trim(self) -> None:
        """Close those that nobody has needed since this was last called, but for one of each
        server."""
        surplus: list[RedisConnection] = []
        with self._returned:
            for server, idle in self._idle.items():
                count = max(0, self._least_idle.get(server, 0) - 1)
                surplus += idle[:count]
                del idle[:count]
                self._least_idle[server] = len(idle)
        for link in surplus:
            link.close()

    def leave(self) -> None:
        """A broker has been closed; with the last one all connections are."""
        with _sharing:
            self.users -= 1
            if self.users:
                return
        with self._returned:
            surplus = [link for idle in self._idle.values() for link in idle]
            self._idle.clear()
        for link in surplus:
            link.close()
        self.reach.close()

    def _borrow(self, key: str) -> tuple[RedisConnection, str]:
        server = self.reach.where(key)
        with self._returned:
            link = self._take(server)
            if link is None and self._lent >= self.PLENTY:
                self._waiting += 1
                self._returned.wait_for(lambda: bool(self._idle.get(server)), self.MOMENT)
                self._waiting -= 1
                link = self._take(server)
            self._lent += 1
        if link is None:
            return RedisConnection(self.reach, key), server
        link.key = key
        return link, server

    def _take(self, server: str) -> RedisConnection | None:
        """Holding the lock."""
        idle = self._idle.get(server)
        if not idle:
            self._least_idle[server] = 0
            return None
        link = idle.pop()
        if len(idle) < self._least_idle.get(server, 0):
            self._least_idle[server] = len(idle)
        return link

    def _return(self, link: RedisConnection, server: str) -> None:
        # In a cluster, its key may have moved, and the connection with it.
        kept = link.alive and self.users > 0
        kept = kept and not (self.reach.cluster and self.reach.where(link.key) != server)
        with self._returned:
            self._lent -= 1
            if kept:
                self._idle.setdefault(server, []).append(link)
                if self._waiting:
                    self._returned.notify()
        if not kept:
            link.close()


_shared: weakref.WeakValueDictionary[tuple[int, str], RedisConnections] = (
    weakref.WeakValueDictionary()
)
_sharing = threading.Lock()


def shared_connections(url: str) -> RedisConnections:
    """Return the connections of this process to `url`, for one more broker."""
    with _sharing:
        key = (os.getpid(), url)  # a lock that a thread of the parent held is locked for ever
        connections = _shared.get(key)
        if connections is None:
            connections = _shared[key] = RedisConnections(Reach(url))
        connections.users += 1
        return connections
