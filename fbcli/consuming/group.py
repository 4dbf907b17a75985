"""The consumers of one process: several functions side by side."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from fbcli.booster import Booster, find_booster
from fbcli.consuming.events import EventReporter, OnEvent
from fbcli.engine.children.start import CHILD_MODES
from fbcli.engine.consumer import Consumer
from fbcli.engine.listeners import Listener
from fbcli.engine.pools import Pools
from fbcli.engine.tally import Snapshot
from fbcli.errors import ExitCode, FbError
from fbcli.options.model import Options
from fbcli.platform.memory import MemoryLimit
from fbcli.settings import load
from fbcli.task import Task
from fbcli.values.sizes import about

log = logging.getLogger("fbcli.consumer")
held = logging.getLogger("fbcli.held")


class GroupSpec(msgspec.Struct):
    """What a group shall do, as it travels to a child process."""

    addresses: list[str]
    flags: dict[str, Any] = {}
    context: str | None = None
    broker: str | None = None
    store: str | None = None
    burst: bool = False
    max_tasks: int | None = None
    events: bool = False
    """Whether every single event is wanted (`--json`); else the usual log lines."""
    live: bool = False
    """Whether a live table is shown: it counts what went well, and what functions print must appear
    above it."""
    verbose: bool = False
    """Whether there is a log line for each task also then."""
    log_level: str = "INFO"
    log_file: str | None = None
    log_json: bool = False


class ConsumerGroup:
    """Consumers side by side in this process. A `Runner` of the `SignalLoop`."""

    def __init__(
        self,
        boosters: Sequence[Booster[Any, Any]],
        spec: GroupSpec,
        on_event: OnEvent | None = None,
        pools: Pools | None = None,
    ) -> None:
        self.consumers: list[Consumer] = []
        self._reporters: dict[str, EventReporter] = {}
        """By queue."""
        self._events = Listener("events", self._hear, all=True)
        pools = pools or Pools()
        held.setLevel(logging.INFO if spec.verbose else logging.WARNING)
        limits = [
            booster.options.max_memory for booster in boosters if replaces_process(booster.options)
        ]
        self._memory = MemoryLimit(min(limit for limit in limits if limit)) if any(limits) else None
        self.recycling = False
        """Whether it ends since it held too much memory, and wants to be replaced."""
        for booster in boosters:
            queue = booster.queue.name
            quiet = spec.live and not spec.verbose
            self._reporters[queue] = EventReporter(queue, on_event, quiet_success=quiet)
            self.consumers.append(
                Consumer(
                    booster.work(),
                    pools=pools,
                    burst=spec.burst,
                    max_tasks=spec.max_tasks,
                    listeners=[self._events],
                )
            )

    def start(self) -> None:
        for consumer in self.consumers:
            consumer.start()

    def tick(self) -> None:
        """When one consumer has failed, end the others too: they were asked for together. When too
        much memory is held, end in order."""
        held = None if self._memory is None or self.recycling else self._memory.exceeded()
        if held is not None:
            log.warning(
                "%s are held, more than --max-memory: draining, to be replaced", about(held)
            )
            self.recycling = True
            self.stop()
        if self.failure and not all(
            consumer.state in ("draining", "stopped") for consumer in self.consumers
        ):
            self.stop()

    def over(self) -> bool:
        if not all(consumer.join(0) for consumer in self.consumers) or not self._events.end():
            return False
        for reporter in self._reporters.values():
            reporter.finish()
        return True

    def _hear(self, tasks: Sequence[Task], at: float) -> None:
        """Have the events of settled tasks told: of one consumer, and so of one queue."""
        if tasks:
            self._reporters[tasks[0].plan.queue].hear(tasks, at)

    def stop(self, drain: float | None = None) -> None:
        for consumer in self.consumers:
            consumer.stop(drain)

    def quiet(self) -> None:
        for consumer in self.consumers:
            consumer.quiet()

    def restart(self) -> None:
        log.warning("HUP replaces child processes, and there are none: TERM ends this one")

    def describe(self) -> list[str]:
        """Return a line for each running task."""
        lines = [f"process {os.getpid()}"]
        for consumer in self.consumers:
            lines += [
                f"  {consumer.work.queue} runs {task.task_id} {task.arguments!r:.200}"
                for task in consumer.running()
            ]
        return lines

    def snapshots(self) -> Mapping[str, Sequence[Snapshot]]:
        return {str(os.getpid()): [consumer.snapshot() for consumer in self.consumers]}

    @property
    def failure(self) -> tuple[str, int] | None:
        for consumer in self.consumers:
            error = consumer.failure
            if error is not None:
                return (
                    (str(error), error.exit_code)
                    if isinstance(error, FbError)
                    else (repr(error), ExitCode.FAILED)
                )
        return None


def replaces_process(options: Options) -> bool:
    """Whether the memory limit is one of the consuming process (in some modes it is one of each
    child that runs calls)."""
    return options.max_memory is not None and options.mode not in CHILD_MODES


def make_group(
    spec: GroupSpec, on_event: OnEvent | None = None, pools: Pools | None = None
) -> ConsumerGroup:
    """Load the functions and return their group. Raises what loading them raises."""
    settings = load(context=spec.context, broker=spec.broker, store=spec.store)
    boosters = [find_booster(address, settings, spec.flags) for address in spec.addresses]
    return ConsumerGroup(boosters, spec, on_event, pools)


def leave(code: int) -> NoReturn:
    """End the process with this exit code now. A call that did not end within its time must not
    hold it up: threads of Python's own executor are waited for at an ordinary end, and its message
    has gone back to the queue. What was registered with `atexit` runs."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
