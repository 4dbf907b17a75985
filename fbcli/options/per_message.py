"""The options that a message carries in `extra`, at the door of its consumer: anybody may have
written them."""

from __future__ import annotations

from typing import Any

from fbcli.controls.catalogue import OVERRIDES
from fbcli.errors import BadMessage, BadSetting
from fbcli.options.gathered import MESSAGE_OPTIONS, checked_message_options

FOR_CONSUMERS = frozenset(MESSAGE_OPTIONS) - {"priority"}
"""Those that are no matter of the broker's."""


def at_the_door(extra: dict[str, Any]) -> dict[str, Any]:
    """Convert the options in the `extra` of a message that came over the wire; return those that
    take the place of the function's own. Raises `BadMessage`."""
    given = {name: extra[name] for name in FOR_CONSUMERS if name in extra}
    try:
        converted = checked_message_options(given, lambda name: "extra")
    except BadSetting as error:
        raise BadMessage(f"The message's own options cannot be used: {error}") from None
    for name in given:
        if name in converted:
            extra[name] = converted[name]
        else:
            del extra[name]
    return {name: value for name, value in converted.items() if name in OVERRIDES}
