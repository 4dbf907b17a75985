"""One queue by name: publishing to it and looking into it, without any function. What a broker cannot do (delay) is done here with
the store, once for all brokers; what cannot be done at all raises `Unsupported`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from fbcli.broker import Broker, Delivery, Outgoing, Settlement, Size, dead_queue
from fbcli.clock import SYSTEM, Clock
from fbcli.errors import TaskNotFound, Unsupported
from fbcli.message import Message, new_task_id, read_message
from fbcli.stores.base import Parked, Store

LEASE = 15.0
"""Seconds that messages taken out by hand (replay, edit) stay owned without a heartbeat: when `fb` is killed meanwhile, they are
back after so long."""

BATCH = 500

EVERYTHING = 10**9
"""A limit that limits nothing; fits what every broker takes for a number of messages."""

TAKEN = lambda count: None  # noqa: E731
