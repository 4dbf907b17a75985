"""Where the program of a server is: in the folder that FB_TEST_BIN names, on the PATH, or in a
wheel of the extra `servers`, which needs no root."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.servers import RequirementMissing


def find_program(
    names: Sequence[str], wheels: Sequence[str], advice: str, *, folders: Sequence[Path] = ()
) -> Path:
    """Return the path of a program that goes by any of `names`.

    Each of `wheels` is `package/path` to it, with `*` for what differs between platforms; `folders`
    are looked through after the PATH. Raises `RequirementMissing` with `advice`: how else to get
    it.
    """
    for found in _places(names, wheels, folders):
        if found is not None:
            return Path(found)
    wanted = " or ".join(names) or wheels[0].rpartition("/")[2]
    raise RequirementMissing(
        f"There is no {wanted} in FB_TEST_BIN, on the PATH, or by wheel (pip install -e"
        f" '.[servers]'): {advice}"
    )


def _places(
    names: Sequence[str], wheels: Sequence[str], folders: Sequence[Path]
) -> Iterator[str | None]:
    for path in (os.environ.get("FB_TEST_BIN"), os.environ["PATH"], *map(str, folders)):
        if path:
            yield from (shutil.which(name, path=path) for name in names)
    yield from map(_in_wheel, wheels)
    scripts = str(Path(sys.executable).parent)  # where a wheel puts what it wants on the PATH
    yield from (shutil.which(name, path=scripts) for name in names)


def _in_wheel(pattern: str) -> str | None:
    package, _, path = pattern.partition("/")
    spec = importlib.util.find_spec(package)  # imports nothing of it
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for found in Path(folder).glob(path):
            if os.access(found, os.X_OK):
                return str(found)
    return None
