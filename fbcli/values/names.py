"""Several names in one text, separated by commas or spaces: "user_id, day"."""

from __future__ import annotations

import re


def parse_names(value: object) -> tuple[str, ...]:
    """Return the names in a text, or those of a list. Raises `ValueError` with a sentence."""
    if isinstance(value, str):
        return tuple(part for part in re.split(r"[,\s]+", value) if part)
    if isinstance(value, tuple | list) and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise ValueError(f"{value!r} is no list of names; write them like user_id,day")


def join_names(names: tuple[str, ...]) -> str:
    """Return names as `parse_names` reads them."""
    return ",".join(names)
