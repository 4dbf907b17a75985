"""How each server is reached, in one place for the brokers and stores that share it; and client
libraries, imported only when their URL is used."""

from __future__ import annotations

import importlib
import re
from types import ModuleType

from fbcli.errors import MissingLibrary

_PASSWORD = re.compile(
    r"(?<=://)([^\s/:@]*):([^\s/]*)@|([?&]\w*(?:password|secret|token)=)[^\s&]*", re.IGNORECASE
)


def load_library(module: str, *, extra: str) -> ModuleType:
    """Import an optional client library, or raise `MissingLibrary` that names the extra to
    install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingLibrary(
            f"This needs the library {module.split('.')[0]!r}, which is not installed: pip install"
            f" 'fbcli[{extra}]'"
        ) from None


def mask(url: str) -> str:
    """Return `url` with its password replaced by `***`, fit to be shown."""
    return _PASSWORD.sub(lambda match: f"{match[3]}***" if match[3] else f"{match[1]}:***@", url)
