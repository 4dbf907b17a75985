"""Options checked against what is declared of them; what is wrong is told with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fbcli.clients.loading import mask
from fbcli.errors import BadSetting, did_you_mean
from fbcli.values.declaration import Option
from fbcli.values.encoding import shown

LONGEST_SHOWN = 200
"""Characters of a value that cannot be used."""

Source = Callable[[str], str]
"""Says where the value of an option came from."""


def checked(
    values: Mapping[str, Any], options: Mapping[str, Option], source: Source
) -> dict[str, Any]:
    """Return values converted to the kinds of their options. Raises `BadSetting` that says what is
    wrong, and by `source(name)` where it is."""
    found = {}
    for name, value in values.items():
        option = options.get(name)
        if option is None:
            raise unknown(name, options, source)
        try:
            found[name] = option.check(value)
        except ValueError as error:
            raise unusable(name, value, error, source) from None
    return found


def unknown(name: str, known: Iterable[str], source: Source) -> BadSetting:
    """Return the error of a name that no option has."""
    return BadSetting(
        f"{source(name)} sets {name!r}, which is not an option.{did_you_mean(name, known)}"
    )


def unusable(name: str, value: object, reason: object, source: Source) -> BadSetting:
    """Return the error of a value that is not of its option's kind."""
    text, why = mask(shown(value)), str(reason)
    if len(text) > LONGEST_SHOWN:
        text = f"{text[: LONGEST_SHOWN - 1]}…"
    return BadSetting(
        f"{source(name)}: {name} = {text} cannot be used: {why[:1].lower()}{why[1:]}."
    )
