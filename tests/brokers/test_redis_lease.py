"""Keeping a lease in Redis without redis-py, wherever and however the server is reached."""

from __future__ import annotations

import pickle
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fbcli.broker import Broker, Inbox, Outgoing
from fbcli.broker_registry import open_broker
from fbcli.errors import Unavailable
from fbcli.lease import Beat, LeaseKeeper
from tests.servers import free_port, needs_programs, wait_until
from tests.servers.redis import RedisCluster, RedisSentinel, RedisServer

QUEUE = "work.queue"
LEASE = 0.5


def check_kept(broker: Broker, queue: str = QUEUE) -> None:
    """Check that another process's beats keep a lease on this broker, and that it ends without
    them."""
    with (
        closing(broker.open(queue, consumer_id="a", prefetch=1, lease=LEASE)) as inbox,
        closing(broker.open(queue, consumer_id="b", prefetch=1, lease=60)) as other,
    ):
        broker.publish(queue, [Outgoing(b"x")])
        assert len(inbox.fetch(1, 10)) == 1
        beat = elsewhere(inbox)
        with closing(beat.keeper()) as keeper:
            for _ in beats_of(3 * LEASE):
                keeper.extend([beat])
                assert other.keep_alive() == 0
        wait_until(lambda: other.keep_alive() == 1, "the lease to end")


def elsewhere(inbox: Inbox) -> Beat:
    beat = inbox.beat()
    assert beat is not None
    again = pickle.loads(pickle.dumps(beat))  # noqa: S301 - our own
    assert isinstance(again, Beat)
    return again


def beats_of(seconds: float) -> Iterator[None]:
    """Yield again and again for some seconds, as fast as a heartbeat does or faster."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(LEASE / 10)


@pytest.fixture
def start() -> Iterator[Callable[..., RedisServer]]:
    servers: list[RedisServer] = []

    def start(*options: str) -> RedisServer:
        server = RedisServer(*options)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.close()


def test_another_database(redis_server: RedisServer) -> None:
    url = redis_server.url.removesuffix("/0")
    redis_server.ask("SELECT 7\r\nFLUSHDB")
    with closing(open_broker(f"{url}/7")) as broker:
        check_kept(broker)


@pytest.mark.parametrize("user", ["", "worker"])
def test_a_password(start: Callable[..., RedisServer], user: str) -> None:
    server = start()
    server.ask("ACL", "SETUSER", user or "default", "on", ">pass%word", "~*", "&*", "+@all")
    server.ask("ACL", "SETUSER", "default", "resetpass", ">pass%word")
    with closing(open_broker(f"redis://{user}:pass%25word@127.0.0.1:{server.port}/0")) as broker:
        check_kept(broker)


def test_the_server_of_the_moment() -> None:
    with RedisSentinel() as servers, closing(open_broker(servers.url)) as broker:
        check_kept(broker)


def test_the_node_that_has_the_queue() -> None:
    with RedisCluster() as cluster, closing(open_broker(cluster.url)) as broker:
        for number in range(4):
            check_kept(broker, f"q{number}")


def certificates(folder: Path) -> None:
    """Make an authority, and certificates of a server and a client."""
    needs_programs("openssl")

    def run(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    key = ("-newkey", "rsa:2048", "-nodes")
    run("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=authority")
    for name in ("server", "client"):
        run("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", *subject)
        signed = (
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-copy_extensions",
            "copy",
        )
        run("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.crt")


@pytest.mark.parametrize("client", ["yes", "no"])
def test_tls(start: Callable[..., RedisServer], tmp_path: Path, client: str) -> None:
    """With an authority of one's own, and a client certificate where the server wants one."""
    certificates(tmp_path)
    port = free_port()
    start(
        *("--tls-port", str(port), "--tls-auth-clients", client),
        *("--tls-cert-file", f"{tmp_path}/server.crt", "--tls-key-file", f"{tmp_path}/server.key"),
        *("--tls-ca-cert-file", f"{tmp_path}/ca.crt"),
    )
    options = f"ssl_ca_certs={tmp_path}/ca.crt"
    if client == "yes":
        options += f"&ssl_certfile={tmp_path}/client.crt&ssl_keyfile={tmp_path}/client.key"
    with closing(open_broker(f"rediss://127.0.0.1:{port}/0?{options}")) as broker:
        check_kept(broker)
        with closing(broker.open(QUEUE, consumer_id="a", prefetch=1, lease=60)) as inbox:
            stranger = elsewhere(inbox)
    stranger.address = stranger.address._replace(  # type: ignore[attr-defined]
        tls={**stranger.address.tls, "ca_certs": None}  # type: ignore[attr-defined]
    )
    with closing(stranger.keeper()) as keeper, pytest.raises(Unavailable, match="certificate"):
        keeper.extend([stranger])


def test_several_at_once(redis_url: str) -> None:
    """In one round trip, whatever their queues."""
    with closing(open_broker(redis_url)) as broker:
        inboxes = [
            broker.open(f"q{number}", consumer_id="c", prefetch=1, lease=LEASE)
            for number in range(20)
        ]
        beats = [elsewhere(inbox) for inbox in inboxes]
        assert len({beat.place for beat in beats}) == 1
        for number, inbox in enumerate(inboxes):
            broker.publish(f"q{number}", [Outgoing(b"x")])
            assert len(inbox.fetch(1, 10)) == 1
        others = [
            broker.open(f"q{number}", consumer_id="other", prefetch=1, lease=60)
            for number in range(20)
        ]
        with closing(beats[0].keeper()) as keeper:
            for _ in beats_of(3 * LEASE):
                keeper.extend(beats)
                assert sum(broker.keep_alive(others)) == 0
        for inbox in (*inboxes, *others):
            inbox.close()


def test_it_connects_anew(start: Callable[..., RedisServer]) -> None:
    server = start()
    with closing(open_broker(server.url)) as broker:
        with closing(broker.open(QUEUE, consumer_id="a", prefetch=1, lease=60)) as inbox:
            beat = elsewhere(inbox)
        with closing(beat.keeper()) as keeper:
            keeper.extend([beat])
            server.stop()
            check_unavailable(keeper, beat)
            check_unavailable(keeper, beat)
            server.start()
            keeper.extend([beat])
            server.ask("CONFIG", "SET", "requirepass", "secret")
            server.ask("AUTH secret\r\nCLIENT KILL TYPE normal")
            check_unavailable(keeper, beat)


def check_unavailable(keeper: LeaseKeeper, beat: Beat) -> None:
    with pytest.raises(Unavailable, match="Redis at 127"):
        keeper.extend([beat])
