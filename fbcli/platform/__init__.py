"""What only POSIX or only Windows has, behind one small interface: `system` is the one this process
runs on.

Nothing above this folder asks which system it is, or whether one has something.
"""

from __future__ import annotations

import sys

from fbcli.platform.interface import FileWatch, Request, System, Wakeup

if sys.platform == "win32":
    from fbcli.platform.windows import Windows as _Here
else:
    from fbcli.platform.posix import Posix as _Here

system: System = _Here()
"""The system that this process runs on."""

__all__ = ["FileWatch", "Request", "System", "Wakeup", "system"]
