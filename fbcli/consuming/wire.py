"""What the supervisor of consuming processes and these say to each other, by their channel. The
first message to a process is its `GroupSpec`."""

from __future__ import annotations

from typing import Any

import msgspec

from fbcli.engine.tally import Snapshot


class Instruction(msgspec.Struct, omit_defaults=True):
    """From the supervisor: one of these."""

    stop: bool = False
    """Take no more work, and end when all that runs has ended."""
    drain: float | None = None
    """With `stop`: within so many seconds; None: as set up."""
    quiet: bool = False
    """Take no more work, but stay."""
    dump: bool = False
    """Log what runs."""


class ProcessReport(msgspec.Struct, omit_defaults=True):
    """To the supervisor: one of these."""

    snapshots: list[Snapshot] | None = None
    """What its consumers do right now."""
    failure: str = ""
    """Why it ends, if not in order."""
    recycle: bool = False
    """It ends in order, and wants to be replaced."""
    over: int | None = None
    """It ends since its work is done, with this exit code."""
    said: dict[str, Any] | None = None
    """What is shown as if the parent said it: an event, a record of a log, a line printed."""


instruction = msgspec.json.Decoder(Instruction).decode
report = msgspec.json.Decoder(ProcessReport).decode
