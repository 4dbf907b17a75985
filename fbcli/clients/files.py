"""URLs that name a file or a folder of this machine, like `sqlite:///queue.db`."""

from __future__ import annotations

from pathlib import Path

FILE_SCHEMES = frozenset({"sqlite"})
"""Schemes of such URLs, of brokers and of stores. A path that does not begin with `/` or `~` is
meant from where the URL is written."""


def absolute(url: str, base: Path) -> str:
    """Return a URL that names a file with its path made absolute, from `base`; others as they
    are."""
    scheme, separator, path = url.partition(":///")
    if scheme in FILE_SCHEMES and separator and path and not path.startswith(("/", "~")):
        return f"{scheme}:///{base / path}"
    return url
