"""Which commands there are, and what `fb --help` says of each: read from their files, without
importing any. So a command is one file, `commands/NAME.py`, and stands in no table."""

from __future__ import annotations

import os
import re
from functools import cache
from typing import NamedTuple

SECTIONS = ("Work", "Queues", "Tasks", "Set-up")
"""The sections of `fb --help`, in order."""

_FOLDER = os.path.dirname(os.path.abspath(__file__))
_APP = "app"
"""The file beside the commands that is none; the names of other such files begin with `_`."""

_PLACE = re.compile(r'^IN_HELP = "(.+)", (\d+)$', re.MULTILINE)
_GROUP_HELP = re.compile(r'^app = new_app\("+([^"\n]+)', re.MULTILINE)
_HELP = re.compile(r'^@app\.command\(.*?^    """(.+?)(?:""")?$', re.MULTILINE | re.DOTALL)


class CommandEntry(NamedTuple):
    """What `fb --help` shows of a command."""

    section: str
    help: str


def is_command(name: str) -> bool:
    """Whether `fb NAME` is one."""
    return (
        name.isidentifier()
        and name[0] != "_"
        and name != _APP
        and os.path.isfile(os.path.join(_FOLDER, f"{name}.py"))
    )


@cache
def commands() -> dict[str, CommandEntry]:
    """Return all commands in the order of `fb --help`."""
    names = [file.removesuffix(".py") for file in os.listdir(_FOLDER) if file.endswith(".py")]
    entries = [_entry(name) for name in names if is_command(name)]
    return {name: entry for _, name, entry in sorted(entries)}


def _entry(name: str) -> tuple[tuple[int, int], str, CommandEntry]:
    """Return the place of a command among the others, its name, and what is shown of it."""
    with open(os.path.join(_FOLDER, f"{name}.py"), encoding="utf-8") as file:
        text = file.read()
    place, shown = _PLACE.search(text), _GROUP_HELP.search(text) or _HELP.search(text)
    if place is None or shown is None or place[1] not in SECTIONS:
        raise ImportError(
            f"commands/{name}.py needs a line like IN_HELP = {SECTIONS[0]!r}, 1 and a docstring of"
            f" its command. Sections: {', '.join(SECTIONS)}."
        )
    return (SECTIONS.index(place[1]), int(place[2])), name, CommandEntry(place[1], shown[1])
