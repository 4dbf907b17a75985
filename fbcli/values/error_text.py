"""What an error says, whoever's it is: its own code may raise, never end, or return anything.

Nothing in here raises. Its traceback, causes and all: `engine/failures.py`.
"""

from __future__ import annotations

from fbcli.values.encoding import in_utf8

MOST_TEXT = 8_000
"""Characters of what an error says."""
MOST_NAME = 500

_qualname = vars(type)["__qualname__"].__get__


def name_of(error: BaseException) -> str:
    """Return the name of an error's class."""
    return cut(in_utf8(_qualname(type(error))), MOST_NAME)


def text_of(value: object) -> str:
    """Return what an error (or a note of one) says, at most `MOST_TEXT` characters in valid UTF-8;
    or why it cannot say it."""
    try:
        text = "".join((str(value),))  # a plain text, whatever class of text it is
    except BaseException as raised:  # noqa: BLE001  code of the error's own class has run
        text = f"its text could not be made: {name_of(raised)}"
    return cut(in_utf8(text), MOST_TEXT)


def sentence_of(error: BaseException) -> str:
    """Return both, as Python shows them."""
    text = text_of(error)
    return f"{name_of(error)}: {text}" if text else name_of(error)


def cut(text: str, most: int) -> str:
    """Return text of at most so many characters, saying how many are left out."""
    if len(text) <= most:
        return text
    kept = most - len(f" … ({len(text):,} more characters)")
    return f"{text[:kept]} … ({len(text) - kept:,} more characters)"
