"""All options there are, gathered from where they are declared: here those that no control owns,
there those of the controls.

Knows names, kinds and defaults; no pydantic, so that most commands start without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fbcli.controls.catalogue import Controls, MessageControls
from fbcli.options.checking import Source, checked
from fbcli.options.outcomes import DeadLetterOptions, ResultMessage, ResultOptions
from fbcli.options.queue import QueueMessage, QueueOptions
from fbcli.options.running import RunningOptions
from fbcli.values.declaration import Option, options_of

PANELS = ("Queue", "Running", "Rate", "Time", "Dedupe", "Failure", "Results")
"""The order in which options are shown; a new panel comes at the end."""


class FunctionDeclarations(
    QueueOptions, RunningOptions, Controls, DeadLetterOptions, ResultOptions
):
    """What can be set for a function."""


class MessageDeclarations(QueueMessage, MessageControls, ResultMessage):
    """What a message can set for itself."""


def _place(declared: tuple[str, Option]) -> int:
    panel = declared[1].panel
    return PANELS.index(panel) if panel in PANELS else len(PANELS)


OPTIONS: dict[str, Option] = dict(sorted(options_of(FunctionDeclarations).items(), key=_place))
"""Every option of a function by its name."""

MESSAGE_OPTIONS: dict[str, Option] = options_of(MessageDeclarations)
"""Every option of a message by its name, which is its key in `extra`."""


def checked_options(values: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """Return options of a function, converted. Raises `BadSetting` that says what is wrong, and by
    `source(name)` where it is."""
    return checked(values, OPTIONS, source)


def checked_message_options(values: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """The same for the options of a message; those that are None are left out."""
    found = checked(values, MESSAGE_OPTIONS, source)
    return {name: value for name, value in found.items() if value is not None}
