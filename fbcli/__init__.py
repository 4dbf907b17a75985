"""fbcli: turn any Python function into a distributed, rate-controlled, never-lost task.

Importing it writes, patches, prints and configures nothing. The names below are imported when they
are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fbcli.booster import Booster, boost
    from fbcli.broker import Broker, Capabilities, Delivery, Inbox, Outgoing, Settlement
    from fbcli.broker_registry import register_broker
    from fbcli.engine.current import CurrentTask, carry, current
    from fbcli.errors import (
        DeadLetter,
        FbError,
        Requeue,
        Retry,
        TaskCancelled,
        TaskFailed,
        TaskTimeout,
        TimedOut,
        Unavailable,
    )
    from fbcli.options.model import Options, TaskOptions
    from fbcli.results import AsyncResult, agather, as_completed, await_all, gather, wait_all
    from fbcli.stores.base import Result

__version__ = "0.1.0"

_HOME = {
    "fbcli.booster": ("Booster", "boost"),
    "fbcli.broker": ("Broker", "Capabilities", "Delivery", "Inbox", "Outgoing", "Settlement"),
    "fbcli.broker_registry": ("register_broker",),
    "fbcli.engine.current": ("CurrentTask", "carry", "current"),
    "fbcli.errors": (
        "DeadLetter",
        "FbError",
        "Requeue",
        "Retry",
        "TaskCancelled",
        "TaskFailed",
        "TaskTimeout",
        "TimedOut",
        "Unavailable",
    ),
    "fbcli.options.model": ("Options", "TaskOptions"),
    "fbcli.results": ("AsyncResult", "agather", "as_completed", "await_all", "gather", "wait_all"),
    "fbcli.stores.base": ("Result",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AsyncResult",
    "Booster",
    "Broker",
    "Capabilities",
    "CurrentTask",
    "DeadLetter",
    "Delivery",
    "FbError",
    "Inbox",
    "Options",
    "Outgoing",
    "Requeue",
    "Result",
    "Retry",
    "Settlement",
    "TaskCancelled",
    "TaskFailed",
    "TaskOptions",
    "TaskTimeout",
    "TimedOut",
    "Unavailable",
    "agather",
    "as_completed",
    "await_all",
    "boost",
    "carry",
    "current",
    "gather",
    "register_broker",
    "wait_all",
]


def __getattr__(name: str) -> Any:
    """Import a public name at first use (PEP 562): a command that needs no pydantic does not wait
    for it."""
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'fbcli' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value
