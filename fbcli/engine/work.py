"""What a consumer consumes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fbcli.arguments.signature import Signature
from fbcli.broker import Broker
from fbcli.engine.callables import is_async
from fbcli.options.model import Options
from fbcli.stores.base import Store


@dataclass(frozen=True)
class Work:
    """A function, its queue, and what holds for it."""

    address: str
    root: Path
    """The folder that addresses of files are relative to."""
    function: Callable[..., Any]
    signature: Signature
    """What a message's arguments must fit."""
    rows: str
    """With batches: the parameter that takes the list of messages."""
    queue: str
    options: Options
    broker: Broker
    store: Store

    @property
    def mode(self) -> str:
        """How its calls run side by side."""
        if self.options.mode != "auto":
            return self.options.mode
        return "asyncio" if is_async(self.function) else "threads"
