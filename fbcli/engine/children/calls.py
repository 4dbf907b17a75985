"""In a child process of a pool: the connection to the parent, what makes the child like it, and how
a call is made.

How calls follow each other is the matter of `sequential` (one after the other) and `greenlets`
(side by side).
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from fbcli import errors
from fbcli.address.address import Address, load
from fbcli.arguments.signature import Signature
from fbcli.controls.retry import lineage_of
from fbcli.engine.callables import plain_call
from fbcli.engine.children.wire import ChildSetup, RaisedError, RemoteCall
from fbcli.engine.current import RemoteTask, running
from fbcli.engine.failures import describe
from fbcli.errors import FbError
from fbcli.message import decode
from fbcli.platform import system
from fbcli.platform.memory import MemoryLimit
from fbcli.pools.children.wire import Answer, End, Order, Refusal, read_ticket
from fbcli.processes.channel import Channel
from fbcli.values.encoding import lenient_json
from fbcli.values.error_text import text_of

Say = Callable[[Answer], None]

_encode = msgspec.json.Encoder().encode
_call = msgspec.json.Decoder(RemoteCall).decode
_setup = msgspec.json.Decoder(ChildSetup).decode
_order = msgspec.json.Decoder(Order).decode

MEANT = ("Retry", "Requeue", "DeadLetter", "TaskTimeout", "TaskCancelled")
"""The errors of `fbcli.errors` that mean something to the engine."""


class ParentLink:
    """The connection to the parent, which was this process's standard input. One thread reads
    it."""

    def __init__(self, tickets: str, read: Callable[[int, int], bytes] = os.read) -> None:
        """`tickets`: the token of their pipe. `read`: what reads a file without ever waiting, if it
        is set so."""
        self.channel = Channel(system.channel_to_parent())
        self._tickets = system.inherited_pipe(tickets, read)
        self.forked = False
        """Whether this is a process that a function has forked."""
        self._requests: dict[int, msgspec.Raw] = {}
        system.at_fork(in_child=self._part)

    def first(self) -> ChildSetup:
        """Wait for the first message. Ends the process when the parent is gone."""
        setup = self.channel.receive(_setup)
        return os._exit(1) if setup is None else setup

    def orders(self) -> list[Order]:
        """Wait for orders and return them, the calls in them kept for `request`. Ends the process
        when the parent is gone."""
        orders = self.channel.receive_all(_order)
        if not orders:
            os._exit(1)
        for order in orders:
            self._requests.update(order.calls)
            for number in order.forget:
                self._requests.pop(number, None)
        return orders

    def ticket(self) -> int | None:
        """Return a ticket; None: there will be no more. Raises `BlockingIOError` while there is
        none."""
        return read_ticket(self._tickets)

    def take(self) -> int | None:
        """Wait for a ticket; None: there will be no more."""
        while True:
            try:
                return self.ticket()
            except BlockingIOError:
                self._tickets.wait()

    def request(self, number: int) -> RemoteCall | None:
        """Return what to do for a ticket; None: that has not come yet."""
        request = self._requests.pop(number, None)
        return None if request is None else _call(request)

    def _part(self) -> None:
        """In a process that a function has forked: be none that the pool speaks with."""
        self.forked = True
        self._tickets.close()
        system.let_go_of_parent(self.channel.socket)


def settle_in(setting: ChildSetup) -> None:
    """Make this process like its parent, and deaf for signals that are meant for it."""
    system.leave_signals_to_parent()
    faulthandler.enable()
    system.dump_on_request()  # as it does of the parent, it shows what runs
    sys.path[:] = setting.path
    sys.argv[:] = setting.argv


class Caller:
    """Makes calls."""

    def __init__(self, setting: ChildSetup, say: Say) -> None:
        self._say = say
        self._root = Path(setting.root)
        self._known: dict[str, tuple[Callable[..., Any], Signature]] = {}
        self._limit = None if setting.max_memory is None else MemoryLimit(setting.max_memory)
        self.tasks: dict[int, RemoteTask] = {}
        """What functions that run now may ask about their tasks."""
        self.interrupts: dict[int, BaseException] = {}
        """What calls are interrupted with."""

    def prepare(self, setting: ChildSetup) -> bool:
        """Load the functions; False: that failed, and the parent knows."""
        try:
            if setting.output is not None:
                module, _, name = setting.output.hook.partition(":")
                getattr(importlib.import_module(module), name)(self.tell, setting.output.wishes)
            for address in setting.addresses:
                self._learn(address)
        except FbError as error:
            self._say(Answer(refusal=Refusal(type(error).__name__, text_of(error))))
            return False
        self._say(Answer(ready=True))
        return True

    def tell(self, message: dict[str, Any]) -> None:
        """Send something to the parent. From any thread."""
        self._say(Answer(say=message))

    def _learn(self, text: str) -> tuple[Callable[..., Any], Signature]:
        found = load(Address.parse(text, self._root), self._root)
        booster = sys.modules.get("fbcli.booster")
        if booster is not None and isinstance(found, booster.Booster):
            found = found.function
        signature = Signature.of(found)
        self._known[text] = plain_call(found, signature), signature
        return self._known[text]

    def make(self, number: int, call: RemoteCall) -> End:
        """Make a call."""
        begun = perf_counter()
        raised: BaseException | None = None
        value = token = None
        try:
            function, signature = self._known.get(call.address) or self._learn(call.address)
            arguments, extra = _arguments_of(call, signature)
            task = self._task_of(call, arguments, extra)
            token = running.set(task)
            self.tasks[number] = task
            if number in self.interrupts:
                raise self.interrupts[number]
            value = function(**arguments)
        except BaseException as error:  # noqa: BLE001  whatever a call raises is its outcome
            raised = error
        # Once it is not in there any more, nothing is thrown into it.
        self.tasks.pop(number, None)
        seconds = perf_counter() - begun
        if token is not None:
            running.reset(token)
        if raised is not None:
            report = msgspec.Raw(_encode(report_of(raised)))
            return End(
                number,
                seconds,
                report,
                failed=True,
                interrupted=self.interrupts.get(number) is raised,
            )
        return (
            End(number, seconds, msgspec.Raw(lenient_json(value)))
            if call.keeps
            else End(number, seconds)
        )

    def _task_of(
        self, call: RemoteCall, arguments: dict[str, Any], extra: dict[str, Any]
    ) -> RemoteTask:
        return _ChildTask(
            task_id=call.task_id,
            queue=call.queue,
            options=None,
            address=call.address,
            attempt=call.attempt,
            arguments=arguments,
            extra=extra,
            deadline=call.deadline,
            deliveries=call.deliveries,
            ask=None if call.deadline is None else partial(self._ask, call),
            given=call.options,
        )

    def _ask(self, call: RemoteCall, seconds: float) -> bool:
        """Ask for a later deadline; whoever asks in time is granted it."""
        if call.deadline is None or time.time() >= call.deadline:
            return False
        call.deadline += seconds
        self.tell({"extend": [call.task_id, seconds]})
        return True

    def full(self) -> bool:
        """Whether this process holds too much memory; then the parent is told."""
        held = None if self._limit is None else self._limit.exceeded()
        if held is None:
            return False
        self._say(Answer(full=held))
        return True


class _ChildTask(RemoteTask):
    """One whose options are read when they are asked for: few functions do, and pydantic takes its
    time to be imported.

    Note: mypy takes a Struct for a dataclass, of which a property could not take the place of a
    field.
    """

    given: msgspec.Raw = msgspec.Raw(b"{}")

    @property  # type: ignore[misc]
    def options(self) -> Any:
        return importlib.import_module("fbcli").Options(**msgspec.json.decode(self.given))


def _arguments_of(call: RemoteCall, signature: Signature) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of a call, and what travelled beside them."""
    if call.rows:
        messages = [decode(bytes(body)) for body in call.bodies]
        return {call.rows: [arguments for arguments, _ in messages]}, messages[0][1]
    arguments, extra = decode(bytes(call.bodies[0]))
    return signature.convert(arguments) if signature.converts else arguments, extra


def report_of(error: BaseException) -> RaisedError:
    """Return an error as the parent is told of it."""
    failure = describe(error)
    meant = next((name for name in MEANT if isinstance(error, getattr(errors, name))), "")
    after = getattr(error, "after", None) if meant else None
    if not isinstance(after, int | float):
        after = None
    return RaisedError(
        failure.error_type, failure.error, failure.traceback, tuple(lineage_of(error)), meant, after
    )
