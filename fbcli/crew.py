"""The consumers of one process, several functions at once; and the entry point of the child processes of `fb consume --processes N`."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fbcli.booster import Booster, find_booster
from fbcli.engine.conductor import Conductor
from fbcli.engine.consumer import Consumer
from fbcli.engine.narrator import Narrator, OnEvent
from fbcli.engine.supervisor import Channel
from fbcli.engine.tally import Snapshot
from fbcli.errors import ExitCode, FbError
from fbcli.settings import load


class CrewSpec(msgspec.Struct):
    """What a crew shall do, as it travels to a child process."""

    addresses: list[str]
    flags: dict[str, Any] = {}
    context: str | None = None
    broker: str | None = None
    store: str | None = None
    burst: bool = False
    max_tasks: int | None = None
    events: bool = False
    """Whether every single event is wanted (`--json`); else the usual log lines."""
    quiet_success: bool = False
    """Whether log lines about tasks that went well are left out (a live table counts them)."""
    log_level: str = "INFO"
    log_file: str | None = None
    log_json: bool = False


class Crew:
    """Consumers side by side in this process. A `Staff` of the conductor."""

    def __init__(self, boosters: Sequence[Booster[Any, Any]], spec: CrewSpec, on_event: OnEvent | None = None) -> None:
        self.consumers: list[Consumer] = []
        self._narrators: list[Narrator] = []
        for booster in boosters:
            narrator = Narrator(booster.queue.name, on_event, quiet_success=spec.quiet_success)
            self._narrators.append(narrator)
            self.consumers.append(
                Consumer(booster.work(), burst=spec.burst, max_tasks=spec.max_tasks, on_closed=narrator.closed)
            )

    def start(self) -> None:
        for consumer in self.consumers:
            consumer.start()

    def tick(self) -> None:
        """When one consumer has failed, end the others too: half a crew is no crew."""
        if self.failure and not all(consumer.state in ("draining", "stopped") for consumer in self.consumers):
            self.stop()

    def over(self) -> bool:
        ended = all(consumer.join(0) for consumer in self.consumers)
        if ended:
            for narrator in self._narrators:
                narrator.finish()
        return ended

    def stop(self, drain: float | None = None) -> None:
        for consumer in self.consumers:
            consumer.stop(drain)

    def quiet(self) -> None:
        for consumer in self.consumers:
            consumer.quiet()

    def restart(self) -> None:
        logging.getLogger("fbcli.consumer").warning(
            "a single process cannot restart itself: use --processes, or stop and start it"
        )

    def describe(self) -> list[str]:
        """Return a line for each running task."""
        lines = [f"process {os.getpid()}"]
        for consumer in self.consumers:
            lines += [f"  {consumer.work.queue} runs {task.task_id} {task.arguments!r:.200}" for task in consumer.running()]
        return lines

    def snapshots(self) -> Mapping[str, Sequence[Snapshot]]:
        return {str(os.getpid()): [consumer.snapshot() for consumer in self.consumers]}

    @property
    def failure(self) -> str:
        return next((repr(consumer.failure) for consumer in self.consumers if consumer.failure is not None), "")


def make_crew(spec: CrewSpec, on_event: OnEvent | None = None) -> Crew:
    """Load the functions and return their crew. Raises what loading them raises."""
    settings = load(context=spec.context, broker=spec.broker, store=spec.store)
    boosters = [find_booster(address, settings, spec.flags) for address in spec.addresses]
    return Crew(boosters, spec, on_event)


def child() -> int:
    """Main of a child process: consume as the parent says, and stop in order when the parent is gone."""
    from fbcli.logs import ChannelHandler, configure_channel  # noqa: PLC0415  set up by the process that needs it

    channel = Channel(socket.socket(fileno=os.dup(0)))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    first = channel.receive()
    if first is None:
        return ExitCode.FAILED
    spec = msgspec.convert(first, CrewSpec)
    configure_channel(
        ChannelHandler(lambda record: channel.send({"log": record})),
        level=spec.log_level,
        file=Path(spec.log_file) if spec.log_file else None,
        json=spec.log_json,
    )
    on_event: OnEvent | None = None
    if spec.events:
        os.dup2(2, 1)  # stdout is the parent's data; what functions print goes to stderr

        def on_event(event: dict[str, Any]) -> None:
            channel.send({"event": event})

    try:
        crew = make_crew(spec, on_event)
    except FbError as error:
        channel.send({"failure": str(error)})
        return error.exit_code

    def report() -> None:
        snapshots = next(iter(crew.snapshots().values()))
        channel.send({"snapshots": [msgspec.to_builtins(snapshot) for snapshot in snapshots]})

    crew.start()
    threading.Thread(target=_obey, args=(channel, crew), name="fb-parent", daemon=True).start()
    code = Conductor(crew, show=report).conduct()
    if crew.failure:
        channel.send({"failure": crew.failure})
    return code


def _obey(channel: Channel, crew: Crew) -> None:
    """Do what the parent says; its end means stop."""
    actions: dict[str, Callable[[dict[str, Any]], None]] = {
        "stop": lambda message: crew.stop(message.get("drain")),
        "quiet": lambda message: crew.quiet(),
        "dump": lambda message: os.kill(os.getpid(), _dump_signal()),
    }
    while (message := channel.receive()) is not None:
        actions.get(message.get("do", ""), _ignore)(message)
    crew.stop()


def _ignore(message: dict[str, Any]) -> None:
    """What a newer parent might say."""


def _dump_signal() -> int:
    import signal  # noqa: PLC0415

    return int(signal.SIGUSR1)


if __name__ == "__main__":
    sys.exit(child())
