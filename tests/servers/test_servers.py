"""The servers of tests start, answer, keep what they should, and end by their pid; which program
serves is looked for in a fixed order."""

from __future__ import annotations

import importlib
import os
import socket
import sys
from pathlib import Path

import pytest

from tests.servers import RequirementMissing, wait_until
from tests.servers.nats import NatsServer
from tests.servers.postgres import PostgresServer
from tests.servers.process import ServerProcess
from tests.servers.programs import find_program
from tests.servers.redis import RedisServer


@pytest.mark.parametrize("kind", [RedisServer, PostgresServer, NatsServer])
def test_it_starts_restarts_and_ends(kind: type[ServerProcess]) -> None:
    with kind() as server:
        first, folder = server.pid, server.folder
        assert server.answers()
        server.restart()
        assert server.pid != first
        assert server.answers()
        server.kill()
        server.start()
        assert server.answers()
        last, port = server.pid, server.port
    assert not folder.exists()
    for pid in (first, last):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_frozen_one_is_ended_too() -> None:
    with RedisServer() as server:
        server.pause()
    assert not server.alive


def test_nats_keeps_streams() -> None:
    """Said in its own protocol: the starter needs no client library."""

    def ask(subject: str, body: bytes = b"") -> bytes:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            stream = connection.makefile("rwb")
            assert stream.readline().startswith(b"INFO")
            stream.write(b'CONNECT {"verbose":false}\r\nSUB answer 1\r\n')
            stream.write(b"PUB %s answer %d\r\n%s\r\n" % (subject.encode(), len(body), body))
            stream.flush()
            while not (line := stream.readline()).startswith(b"MSG"):
                assert line, "it closed the connection"
            return stream.read(int(line.split()[-1]))

    with NatsServer() as server:
        made = ask("$JS.API.STREAM.CREATE.kept", b'{"name":"kept","subjects":["kept"]}')
        assert b"stream_create_response" in made
        assert b"error" not in made
        server.restart()
        assert b'"streams":["kept"]' in ask("$JS.API.STREAM.NAMES")


def program(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.touch(0o755)
    return path


def test_where_programs_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> Path:
        return find_program(
            ["fb-one", "fb-two"], ["fb_wheel/bin/*/fb-one"], "build it.", folders=[tmp_path / "opt"]
        )

    monkeypatch.setenv("FB_TEST_BIN", str(tmp_path / "own"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(RequirementMissing, match=r"no fb-one or fb-two in FB_TEST_BIN.*build it\."):
        found()
    (tmp_path / "site").mkdir()
    for folder in ("site/fb_wheel/bin/linux", "opt", "path", "own"):
        path = program(tmp_path / folder, "fb-one")
        importlib.invalidate_caches()
        assert found() == path, "each goes before those that came first here"
    assert "fb_wheel" not in sys.modules
    (tmp_path / "own" / "fb-one").unlink()
    two = program(tmp_path / "own", "fb-two")
    assert found() == two


def test_waiting_says_for_what() -> None:
    with pytest.raises(TimeoutError, match="for the moon"):
        wait_until(lambda: False, "the moon", timeout=0.01)
