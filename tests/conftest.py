"""Fixtures shared by all tests: the real servers, each started once a session at its first use."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.servers import RequirementMissing
from tests.servers.redis import RedisServer

HEAVY = ("cli", "chaos", "docs", "contract")
"""Folders whose tests run processes and servers, or try very many cases: not `quick`, unless a file
says so itself."""

_databases = itertools.cycle(range(16))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis for the whole session; whoever stops or restarts a server starts one of his own."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """An empty database of the shared server."""
    database = next(_databases)
    redis_server.ask(f"SELECT {database}\r\nFLUSHDB")
    return redis_server.url.removesuffix("/0") + f"/{database}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `quick` what neither its folder nor its mark `slow` keeps from it."""
    here = Path(__file__).parent
    for item in items:
        heavy = item.path.relative_to(here).parts[0] in HEAVY
        if not heavy and not item.get_closest_marker("slow"):
            item.add_marker("quick")


def _where_it_is_missing() -> Generator[None, object, object]:
    try:
        return (yield)
    except RequirementMissing as missing:
        if os.environ.get("FB_TEST_REQUIRE") == "all":
            pytest.fail(f"FB_TEST_REQUIRE=all, but: {missing}", pytrace=False)
        pytest.skip(str(missing))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    return (yield from _where_it_is_missing())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    return (yield from _where_it_is_missing())


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why tests were skipped: a line each reason, with how many."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.getreports("skipped")
        if isinstance(report.longrepr, tuple)
    )
    if reasons:
        terminalreporter.section("skipped")
        for reason, count in reasons.most_common():
            terminalreporter.line(f"{count:5}  {reason}")
