"""A child of a pool on a system that does not end it with its parent."""

from __future__ import annotations

from fbcli.engine.children import main as ordinary
from fbcli.platform import system


def main() -> None:
    system.die_with_parent = lambda parent: False  # type: ignore[method-assign]
    ordinary.main()
