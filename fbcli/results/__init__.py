"""The results of tasks: waited for, from anywhere, by their ids. The names that others use."""

from fbcli.results.gathering import agather, as_completed, await_all, gather, wait_all
from fbcli.results.handle import AsyncResult, value_of
from fbcli.results.waiters import in_thread

__all__ = [
    "AsyncResult",
    "agather",
    "as_completed",
    "await_all",
    "gather",
    "in_thread",
    "value_of",
    "wait_all",
]
