"""Real servers for tests, each on private loopback ports and in a folder of its own, stopped by its
pid."""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Callable
from typing import TypeVar

import pytest

from fbcli.testing.waiting import wait_until as wait_until

T = TypeVar("T")


class ServerMissing(Exception):
    """This machine has no such server; the text says how to get it."""


def require_or_skip(start: Callable[[], T]) -> T:
    """Return what `start` returns. When its server is missing, skip the test at a desk, and fail it
    where all must run (`FB_TEST_REQUIRE=all`, as CI sets it)."""
    try:
        return start()
    except ServerMissing as missing:
        if os.environ.get("FB_TEST_REQUIRE") == "all":
            pytest.fail(f"FB_TEST_REQUIRE=all, but: {missing}", pytrace=False)
        pytest.skip(str(missing))


def needs(library: str) -> None:
    """Skip the test, or where all must run fail it, when a library is not installed. Imports
    nothing: some patch or warn when imported."""

    def find() -> None:
        if importlib.util.find_spec(library) is None:
            raise ServerMissing(f"There is no library {library}: pip install {library}")

    require_or_skip(find)


def free_port() -> int:
    """Return a loopback port that nobody listens on. Somebody may take it before you do: try again
    then."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
