"""One run of `fb consume`: the group (or the supervisor of several), its logging, and the view that
fits the terminal, put together."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from fbcli.booster import Booster, find_booster
from fbcli.broker import Size
from fbcli.clock import SYSTEM
from fbcli.console.board import Board
from fbcli.console.output import Output
from fbcli.console.views import JsonView, LineView, View
from fbcli.console.whole_lines import patient_stdout
from fbcli.consuming.child_output import child_output_of, heard
from fbcli.consuming.group import ConsumerGroup, GroupSpec, leave, replaces_process
from fbcli.consuming.signals import Runner, SignalLoop
from fbcli.consuming.supervisor import Supervisor
from fbcli.engine.pools import Pools
from fbcli.engine.services.service import Service
from fbcli.errors import Unavailable
from fbcli.logs import configure
from fbcli.processes.command import python_command
from fbcli.settings import Settings, load


class SizePoller(Service):
    """Looks now and then how much the queues hold, in a thread of its own: a slow broker must not
    freeze the view."""

    name = "size_poller"
    PERIOD = 1.0
    CALM = 0.25
    """Seconds for each queue: a hundred of them are not looked at a hundred times a second."""

    def __init__(self, boosters: Sequence[Booster[Any, Any]]) -> None:
        super().__init__(max(self.PERIOD, self.CALM * len(boosters)))
        self._queues = [booster.queue for booster in boosters]
        self.sizes: dict[str, Size | None] = {}

    def beat(self) -> None:
        self.sizes = {queue.name: queue.size() for queue in self._queues}

    def retire(self) -> None:
        """Look for the last time: the summary shall say what is left."""
        if not self._trouble.troubled:
            with contextlib.suppress(Unavailable):
                self.beat()


class ConsumeRun:
    """One run of `fb consume`."""

    def __init__(self, spec: GroupSpec, *, json: bool, live: bool) -> None:
        self._spec = spec
        self._json = json
        self._out = Output(json=json, stdout=_data_only() if json else None)
        self._live = live and not json and self._out.live

    def play(self) -> NoReturn:
        """Consume until it is over, and end the process. Raises what loading the functions raises,
        `BadSetting`, `MissingLibrary`."""
        with contextlib.nullcontext() if self._live else patient_stdout():
            code = self._play()
        leave(code)

    def _play(self) -> int:
        spec = msgspec.structs.replace(self._spec, live=self._live)
        settings = load(context=spec.context, broker=spec.broker, store=spec.store)
        board = Board(SYSTEM)
        with self._view(settings) as view:
            configure(
                level=spec.log_level,
                json=spec.log_json,
                file=Path(spec.log_file) if spec.log_file else None,
                console=getattr(view, "console", None),
            )
            pools = Pools(child_output_of(spec), heard)
            boosters = [find_booster(address, settings, spec.flags) for address in spec.addresses]
            for booster in boosters:
                pools.check(booster.work())
            processes = max(booster.options.processes for booster in boosters)
            size_poller = SizePoller(boosters)
            runner = self._runner(boosters, spec, pools, processes)

            def show() -> None:
                board.update(runner.snapshots(), size_poller.sizes)
                view.refresh(board)

            size_poller.start()
            try:
                code = SignalLoop(runner, show=show).run()
            finally:
                size_poller.stop()
            size_poller.retire()
            show()
            view.final(board)
        return code

    def _view(self, settings: Settings) -> AbstractContextManager[View]:
        if self._json:
            return JsonView(self._out.object)
        if self._live:
            from fbcli.console.live import LiveView  # noqa: PLC0415  rich, which only a terminal needs

            wanted = int(self._spec.flags.get("processes") or 1)
            return LiveView(", ".join(self._spec.addresses), settings.broker_url, processes=wanted)
        return LineView()

    def _runner(
        self, boosters: Sequence[Booster[Any, Any]], spec: GroupSpec, pools: Pools, processes: int
    ) -> Runner:
        if processes == 1 and not any(replaces_process(booster.options) for booster in boosters):
            return ConsumerGroup(boosters, spec, self._out.object if self._json else None, pools)
        specs = [self._part(boosters, spec, index) for index in range(processes)]
        drain = max(booster.options.drain for booster in boosters)
        endless = not spec.burst and spec.max_tasks is None
        command = python_command("fbcli.consuming.child:main")
        return Supervisor(
            command,
            specs,
            folder=pools.folder,
            drain=drain,
            endless=endless,
            on_message=self._heard,
        )

    @staticmethod
    def _part(boosters: Sequence[Booster[Any, Any]], spec: GroupSpec, index: int) -> GroupSpec:
        """Return what the process of this index does: the functions that want so many processes."""
        addresses = [
            address
            for address, booster in zip(spec.addresses, boosters, strict=True)
            if booster.options.processes > index
        ]
        return msgspec.structs.replace(spec, addresses=addresses)

    def _heard(self, message: Mapping[str, Any]) -> None:
        """Pass on what a child process said."""
        if "event" in message:
            self._out.object(message["event"])
        else:
            heard(message)


def _data_only() -> Any:
    """Return the real stdout, and send what functions print to stderr: with `--json` there is
    nothing but objects on stdout."""
    sys.stdout.flush()
    data = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return data
