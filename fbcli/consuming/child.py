"""The child processes of `fb consume --processes N`, with a channel to the parent as standard
input."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from fbcli.console.whole_lines import line_by_line, patient_stdout
from fbcli.consuming import wire
from fbcli.consuming.child_output import child_output_of, heard
from fbcli.consuming.events import OnEvent
from fbcli.consuming.group import ConsumerGroup, GroupSpec, leave, make_group
from fbcli.consuming.signals import SignalLoop
from fbcli.consuming.wire import ProcessReport
from fbcli.engine.pools import Pools
from fbcli.errors import ExitCode, FbError
from fbcli.logs import ChannelHandler, configure_channel
from fbcli.platform import system
from fbcli.processes.channel import Channel


def main() -> NoReturn:
    """Consume as the parent says, stop in order when the parent is gone, and end the process."""
    leave(_main())


def _main() -> int:
    channel = Channel(system.channel_to_parent())
    spec = channel.receive(msgspec.json.Decoder(GroupSpec).decode)
    if spec is None:
        return ExitCode.FAILED
    configure_channel(
        ChannelHandler(lambda record: channel.send(ProcessReport(said={"log": record}))),
        level=spec.log_level,
        file=Path(spec.log_file) if spec.log_file else None,
        json=spec.log_json,
    )
    with _prints(spec, channel):
        code = _consume(spec, channel)
    channel.send(ProcessReport(over=code))
    return code


def _consume(spec: GroupSpec, channel: Channel) -> int:
    def tell(event: dict[str, Any]) -> None:
        channel.send(ProcessReport(said={"event": event}))

    on_event: OnEvent | None = tell if spec.events else None
    try:
        group = make_group(spec, on_event, Pools(child_output_of(spec), heard))
    except FbError as error:
        channel.send(ProcessReport(failure=str(error)))
        return error.exit_code

    def report() -> None:
        snapshots = next(iter(group.snapshots().values()))
        channel.send(ProcessReport(snapshots=list(snapshots)))

    loop = SignalLoop(group, show=report)
    orders = threading.Thread(
        target=_obey, args=(channel, group, loop), name="fb-parent", daemon=True
    )
    orders.start()
    code = loop.run()
    if group.recycling:
        channel.send(ProcessReport(recycle=True))
    if group.failure is not None:
        channel.send(ProcessReport(failure=group.failure[0]))
    return code


def _prints(spec: GroupSpec, channel: Channel) -> AbstractContextManager[None]:
    """See to what functions print: above the parent's live table; with `--json` to stderr, since
    stdout is the parent's data."""
    if spec.live:
        return line_by_line(lambda text: channel.send(ProcessReport(said={"print": text})))
    if spec.events:
        os.dup2(2, 1)
    return patient_stdout()


def _obey(channel: Channel, group: ConsumerGroup, loop: SignalLoop) -> None:
    """Do what the parent says; its end means stop."""
    while (instruction := channel.receive(wire.instruction)) is not None:
        if instruction.stop:
            group.stop(instruction.drain)
        elif instruction.quiet:
            group.quiet()
        elif instruction.dump:
            loop.dump()
    group.stop()
