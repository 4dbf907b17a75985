"""Fixtures shared by all tests: the real servers, each started once a session at its first use."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note: what tests log may hold half characters, which cannot travel from a process that tests
    to the one that tells."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report
