"""What is logged and printed in the child processes of a pool: said to the parent, who shows it as
if it were its own.

`speak` is called in a child before its functions are imported; `heard` in the parent.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fbcli.console.whole_lines import line_by_line, patient_stdout
from fbcli.engine.children.wire import ChildOutput
from fbcli.logs import ChannelHandler, configure_channel, replay

if TYPE_CHECKING:  # a child needs none of the application
    from fbcli.consuming.group import GroupSpec

_kept = ExitStack()
"""What holds as long as the child lives."""


def child_output_of(spec: GroupSpec) -> ChildOutput:
    """Return how the children of a group make themselves heard."""
    wishes = {
        "level": spec.log_level,
        "file": spec.log_file,
        "json": spec.log_json,
        "live": spec.live,
        "events": spec.events,
    }
    return ChildOutput("fbcli.consuming.child_output:speak", wishes)


def speak(tell: Callable[[dict[str, Any]], object], wishes: Mapping[str, Any]) -> None:
    """Have what this process logs, and prints while a live table is shown, told to the parent."""
    configure_channel(
        ChannelHandler(lambda record: tell({"log": record})),
        level=wishes["level"],
        file=Path(wishes["file"]) if wishes["file"] else None,
        json=wishes["json"],
    )
    if wishes["live"]:
        _kept.enter_context(line_by_line(lambda text: tell({"print": text})))
    elif wishes["events"]:
        os.dup2(2, 1)  # stdout is the parent's data
    else:
        _kept.enter_context(patient_stdout())


def heard(message: Mapping[str, Any]) -> None:
    """Show what a child has said."""
    if "log" in message:
        replay(message["log"])
    elif "print" in message:
        sys.stdout.write(f"{message['print']}\n")
