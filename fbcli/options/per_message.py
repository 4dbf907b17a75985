"""The options that a message carries in `extra`, at the door of its consumer: anybody may have
written them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fbcli.controls.catalogue import OVERRIDES
from fbcli.errors import BadMessage
from fbcli.options.checking import unusable
from fbcli.options.gathered import MESSAGE_OPTIONS

FOR_CONSUMERS = frozenset(MESSAGE_OPTIONS) - {"priority"}
"""Those that are no matter of the broker's."""

_CHECKS = {name: MESSAGE_OPTIONS[name].kind.check for name in FOR_CONSUMERS}
_NONE: Mapping[str, Any] = {}


def at_the_door(extra: dict[str, Any]) -> Mapping[str, Any]:
    """Convert the options in the `extra` of a message that came over the wire; return those that
    take the place of the function's own. Raises `BadMessage`."""
    found = _NONE
    for name in extra.keys() & FOR_CONSUMERS:
        value = extra[name]
        if value is None:
            del extra[name]
            continue
        try:
            value = extra[name] = _CHECKS[name](value)
        except ValueError as error:
            told = unusable(name, value, error, lambda name: "extra")
            raise BadMessage(f"The message's own options cannot be used: {told}") from None
        if name in OVERRIDES:
            found = {**found, name: value}
    return found
