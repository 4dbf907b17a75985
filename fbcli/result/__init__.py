"""The results of tasks: waited for, from anywhere, by their ids. The names that others use."""

from fbcli.result.gathering import agather, as_completed, await_all, gather, wait_all
from fbcli.result.handle import AsyncResult, value_of
from fbcli.result.waiting import in_thread

__all__ = ["AsyncResult", "agather", "as_completed", "await_all", "gather", "in_thread", "value_of", "wait_all"]
