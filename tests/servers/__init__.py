"""Real servers for tests, each on private loopback ports and in a folder of its own, stopped by its
pid."""

from __future__ import annotations

import importlib.util
import shutil
import socket

from fbcli.testing.waiting import wait_until as wait_until


class RequirementMissing(Exception):
    """This machine lacks a server, a program, a library, a right; the text says how to get it.

    A test that meets it is skipped at a desk, and fails where all must run (`FB_TEST_REQUIRE=all`,
    as CI sets it): the hooks of `tests/conftest.py`.
    """


def needs(library: str) -> None:
    """Raise `RequirementMissing` when a library is not installed. Imports nothing: some patch or
    warn when imported."""
    if importlib.util.find_spec(library) is None:
        raise RequirementMissing(f"There is no library {library}: pip install {library}.")


def needs_programs(*programs: str) -> None:
    """Raise `RequirementMissing` when one of these is not on the PATH."""
    for program in programs:
        if shutil.which(program) is None:
            raise RequirementMissing(f"There is no {program} on the PATH: apt install {program}.")


def free_port() -> int:
    """Return a loopback port that nobody listens on. Somebody may take it before you do: try again
    then."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
