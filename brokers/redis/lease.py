"""How another process keeps the lease of a consumer of Redis: with nothing but sockets, so that it
needs neither redis-py nor the memory of it."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

from fbcli.errors import Unavailable
from fbcli.lease import Beat, LeaseKeeper

CONNECT_TIMEOUT = 3.0
ANSWER_TIMEOUT = 5.0

EXTEND = """
if redis.call('EXISTS', KEYS[2]) == 1 then
  local time = redis.call('TIME')
  redis.call('ZADD', KEYS[1], time[1] + time[2] / 1000000 + ARGV[2], ARGV[1])
end
"""
"""KEYS: owners, held of the owner; ARGV: owner, lease. The first thing that `scripts.BEAT` does."""


class RedisAddress(NamedTuple):
    """Where one server is, and who asks."""

    host: str
    port: int
    database: int
    username: str | None
    password: str | None
    tls: Mapping[str, Any] | None
    """What redis-py's connection knows of TLS, by its names; None: no TLS."""

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}/{self.database}"


class RedisBeat(Beat):
    """The lease of one owner of one queue."""

    def __init__(
        self, address: RedisAddress, owners: str, held: str, owner: str, lease: float
    ) -> None:
        self.place = address.place
        self.address = address
        self.owners = owners
        self.held = held
        self.owner = owner
        self.lease = lease

    def keeper(self) -> LeaseKeeper:
        return RedisLeaseKeeper(self.address)


class RedisLeaseKeeper(LeaseKeeper):
    """Beats at one server, all in one round trip."""

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._replies: BinaryIO

    def extend(self, beats: Sequence[Beat]) -> None:
        commands = [
            ("EVAL", EXTEND, "2", beat.owners, beat.held, beat.owner, repr(beat.lease))
            for beat in beats
            if isinstance(beat, RedisBeat)
        ]
        try:
            if self._socket is None:
                self._connect()
            self._ask(commands)
        except (OSError, ValueError) as error:
            self.close()
            raise Unavailable(f"Redis at {self._address.place} fails ({error}).") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            self._replies.close()
            sock.close()

    def _connect(self) -> None:
        to = self._address
        sock = socket.create_connection((to.host, to.port), CONNECT_TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if to.tls is not None:
            sock = _secured(sock, to.host, to.tls)
        sock.settimeout(ANSWER_TIMEOUT)
        self._socket, self._replies = sock, sock.makefile("rb")
        if to.password is not None:
            self._ask([("AUTH", *([to.username] if to.username else []), to.password)])
        if to.database:
            self._ask([("SELECT", str(to.database))])

    def _ask(self, commands: Sequence[Sequence[str]]) -> None:
        """Send commands together, and read as many replies. Raises `Unavailable` for one that is an
        error."""
        assert self._socket is not None
        self._socket.sendall(b"".join(map(_packed, commands)))
        for _ in commands:
            reply = self._replies.readline()
            if not reply.endswith(b"\r\n"):
                raise ConnectionError("the connection was closed")
            if reply[:1] == b"$" and (length := int(reply[1:])) >= 0:
                self._replies.read(length + 2)
            elif reply[:1] == b"-":
                text = reply[1:-2].decode("utf-8", "replace")
                raise Unavailable(f"Redis at {self._address.place} refuses ({text}).")


def _packed(words: Sequence[str]) -> bytes:
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in encoded)


def _secured(sock: socket.socket, host: str, tls: Mapping[str, Any]) -> socket.socket:
    import ssl  # noqa: PLC0415  4 MB that a connection without TLS does not need

    context = ssl.create_default_context()
    context.check_hostname = False  # it must be off before certificates may go unverified
    context.verify_mode = tls["cert_reqs"]
    context.check_hostname = tls["check_hostname"]
    if tls["certfile"] or tls["keyfile"]:
        context.load_cert_chain(tls["certfile"], tls["keyfile"], tls["certificate_password"])
    if tls["ca_certs"] or tls["ca_path"] or tls["ca_data"]:
        context.load_verify_locations(tls["ca_certs"], tls["ca_path"], tls["ca_data"])
    if tls["ssl_min_version"] is not None:
        context.minimum_version = tls["ssl_min_version"]
    if tls["ssl_ciphers"]:
        context.set_ciphers(tls["ssl_ciphers"])
    return context.wrap_socket(sock, server_hostname=host)
