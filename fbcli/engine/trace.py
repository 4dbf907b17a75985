"""An error's traceback as text, cut down to the part that is the user's."""

from __future__ import annotations

import os
import traceback

LINES = 20
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def user_trace(error: BaseException, text: str) -> str:
    """Return the last lines of an error's traceback, without the frames of fbcli; `text` is what
    the error says."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_OWN)] or list(frames)
    lines = "".join(traceback.format_list(own)).splitlines()[-LINES:]
    lines.append(f"{type(error).__qualname__}: {text}")
    return in_utf8("\n".join(lines))


def in_utf8(text: str) -> str:
    """Return text that can be written as UTF-8: names of files may hold bytes that are none (lone
    surrogates)."""
    return text.encode("utf-8", "backslashreplace").decode()
