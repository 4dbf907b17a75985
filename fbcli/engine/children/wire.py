"""What a pool asks a child process to do, and what the child tells of errors: the words both sides
share.

Knows msgspec only, since a child imports it before anything of the user's.
"""

from __future__ import annotations

from typing import Any

import msgspec


class ChildOutput(msgspec.Struct):
    """Where what is logged and printed in a child goes; None of it: logging stays as Python sets it
    up, prints go where the parent's do."""

    hook: str
    """`module:function` that sees to it; it is called with a callable that sends a dict to the
    parent, and with `wishes`."""
    wishes: dict[str, Any] = {}


class ChildSetup(msgspec.Struct):
    """The first message to a child: what it needs to be like its parent."""

    parent: int
    """The parent's process id."""
    path: list[str]
    """The parent's `sys.path`."""
    argv: list[str]
    root: str
    """The folder that addresses of files are relative to."""
    addresses: list[str]
    """What to import before the first call."""
    max_memory: int | None = None
    """Bytes."""
    output: ChildOutput | None = None


class RemoteCall(msgspec.Struct, array_like=True):
    """One call."""

    address: str
    queue: str
    task_id: str
    attempt: int
    deliveries: int
    deadline: float | None
    """When it will be interrupted (Unix seconds)."""
    keeps: bool
    """Whether somebody wants to know what it returns."""
    options: msgspec.Raw
    """The options in force, those that have their default left out."""
    bodies: list[msgspec.Raw]
    """The message; with batches: the messages."""
    rows: str = ""
    """With batches: the parameter that takes the list of messages."""


class RaisedError(msgspec.Struct, array_like=True):
    """What a call has raised."""

    error_type: str
    text: str
    traceback: str
    lineage: tuple[str, ...]
    meant: str = ""
    """The name in `fbcli.errors` of the class that fbcli knows it by."""
    after: float | None = None
    """Seconds, of a `Retry` or `Requeue`."""
