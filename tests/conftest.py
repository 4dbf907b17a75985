"""Fixtures shared by all tests: the real servers, each started once a session at its first use."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.servers import require_or_skip
from tests.servers.redis import RedisServer

_databases = itertools.cycle(range(16))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis for the whole session; whoever stops or restarts a server starts one of his own."""
    server = require_or_skip(RedisServer)
    with server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """An empty database of the shared server."""
    database = next(_databases)
    redis_server.ask(f"SELECT {database}\r\nFLUSHDB")
    return redis_server.url.removesuffix("/0") + f"/{database}"
