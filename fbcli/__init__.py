"""fbcli: turn any Python function into a distributed, rate-controlled, never-lost task.

Importing it writes, patches, prints and configures nothing. The names below are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fbcli.booster import Booster, boost
    from fbcli.broker import Broker, Capabilities, Delivery, Inbox, Outgoing, Settlement, register_broker
    from fbcli.errors import DeadLetter, FbError, Requeue, Retry, TaskFailed, TaskTimeout, TimedOut, Unavailable
    from fbcli.options import Options, TaskOptions
    from fbcli.result import AsyncResult

__version__ = "0.1.0"

_HOME = {
    "fbcli.booster": ("Booster", "boost"),
    "fbcli.broker": ("Broker", "Capabilities", "Delivery", "Inbox", "Outgoing", "Settlement", "register_broker"),
    "fbcli.errors": ("DeadLetter", "FbError", "Requeue", "Retry", "TaskFailed", "TaskTimeout", "TimedOut", "Unavailable"),
    "fbcli.options": ("Options", "TaskOptions"),
    "fbcli.result": ("AsyncResult",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AsyncResult",
    "Booster",
    "Broker",
    "Capabilities",
    "DeadLetter",
    "Delivery",
    "FbError",
    "Inbox",
    "Options",
    "Outgoing",
    "Requeue",
    "Retry",
    "Settlement",
    "TaskFailed",
    "TaskOptions",
    "TaskTimeout",
    "TimedOut",
    "Unavailable",
    "boost",
    "register_broker",
]


def __getattr__(name: str) -> Any:
    """Import a public name at first use (PEP 562): a command that needs no pydantic does not wait for it."""
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'fbcli' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value
