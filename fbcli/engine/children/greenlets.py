"""A child process that makes calls side by side, in greenlets: the pools of modes `gevent` and
`eventlet`.

When this module is imported, the standard library has been patched: what looks as if it blocked
lets other greenlets run. Three of them see to the rest: one takes tickets, one reads what the
parent says, one sends. Greenlets that make calls never send by themselves: an interrupt in the
middle of that would leave half a message behind.
"""

from __future__ import annotations

import importlib
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from fbcli.engine.children.calls import Caller, ParentLink, settle_in
from fbcli.errors import TaskCancelled
from fbcli.platform import system
from fbcli.pools.children.wire import Answer
from fbcli.processes.channel import Channel, framed

TURN_SECONDS = 0.01
"""How long a greenlet goes on without giving way, when its calls never wait."""


class Greenlets(Protocol):
    """What the two libraries do differently."""

    system: Any
    """The `os` that does not know of greenlets."""

    def spawn(self, function: Callable[..., None], *args: Any) -> None:
        """Run a function in a greenlet of its own, soon."""

    def soon(self, function: Callable[..., None], *args: Any) -> None:
        """Call a function in the hub, between two turns of greenlets. There nothing can wait, but
        greenlets can be thrown into."""


class Gevent:
    """gevent's."""

    def __init__(self) -> None:
        library = importlib.import_module("gevent")
        self.system: Any = os
        self._spawn = library.spawn
        self._loop = library.get_hub().loop

    def spawn(self, function: Callable[..., None], *args: Any) -> None:
        self._spawn(function, *args)

    def soon(self, function: Callable[..., None], *args: Any) -> None:
        self._loop.run_callback(function, *args)


class Eventlet:
    """eventlet's."""

    def __init__(self) -> None:
        self._spawn = importlib.import_module("eventlet").spawn_n
        self._hub = importlib.import_module("eventlet.hubs").get_hub()
        self.system: Any = importlib.import_module("eventlet.patcher").original("os")

    def spawn(self, function: Callable[..., None], *args: Any) -> None:
        self._spawn(function, *args)

    def soon(self, function: Callable[..., None], *args: Any) -> None:
        self._hub.schedule_call_global(0, function, *args)


def work(mode: str, tickets: str) -> None:
    """Make calls until there are no more, and those that run have ended."""
    greenlets: Greenlets = Gevent() if mode == "gevent" else Eventlet()
    link = ParentLink(tickets, greenlets.system.read)
    setting = link.first()
    system.die_with_parent(setting.parent)
    settle_in(setting)
    sending = SendQueue(link.channel, greenlets.system.write)
    greenlets.spawn(sending.serve)
    caller = Caller(setting, sending.put)
    if caller.prepare(setting):
        GreenletRunner(link, caller, sending, greenlets).serve()
    sending.flush()


class SendQueue:
    """What is to be sent. `put` never waits, and may be called anywhere."""

    def __init__(self, parent: Channel, write: Callable[[int, bytes], int]) -> None:
        self._parent = parent
        self._write = write
        self._frames: deque[bytes] = deque()
        self._wakeup, waker = socket.socketpair()
        waker.setblocking(False)
        self._waker = os.dup(waker.fileno())
        self._woken = False
        self._sending = False

    def put(self, answer: Answer) -> None:
        self._frames.append(framed(answer))
        if not self._woken:
            self._woken = True
            self._write(self._waker, b"\0")

    def serve(self) -> None:
        """Send what there is, for ever."""
        while True:
            self._wakeup.recv(1)
            self._sending, self._woken = True, False
            frames = [self._frames.popleft() for _ in range(len(self._frames))]
            if not self._parent.send_framed(b"".join(frames)):  # there is nobody to work for
                os._exit(1)
            self._sending = False

    def flush(self) -> None:
        """Wait until all is sent."""
        while self._frames or self._woken or self._sending:
            time.sleep(0.001)


class GreenletRunner:
    """Takes tickets and has their calls made, as many at once as there are slots."""

    def __init__(
        self, link: ParentLink, caller: Caller, sending: SendQueue, greenlets: Greenlets
    ) -> None:
        self._link = link
        self._caller = caller
        self._sending_queue = sending
        self._greenlets = greenlets
        self._slots = 1
        self._here = importlib.import_module("greenlet").getcurrent
        self._begun: set[int] = set()
        """Calls that run, or are about to."""
        self._running: dict[int, Any] = {}
        """The greenlets of those that run."""
        self._changed = threading.Event()
        """Set when there is room, or a request has come."""
        self._leaving = False

    def serve(self) -> None:
        """Work until there are no more tickets, or too much memory is held; return when all calls
        have ended."""
        self._greenlets.spawn(self._listen)
        while not self._leaving:
            self._wait_until(lambda: len(self._begun) < self._slots)
            number = self._link.take()
            if number is None:
                break
            self._begun.add(number)
            self._greenlets.spawn(self._work, number)
        self._wait_until(lambda: not self._begun)

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            self._changed.wait()

    def _work(self, number: int | None) -> None:
        """Make a call, and then one after the other while there are tickets: a greenlet for each
        would cost more than a short call."""
        turn = time.monotonic() + TURN_SECONDS
        while number is not None:
            while (call := self._link.request(number)) is None:
                self._changed.clear()
                self._changed.wait()
            self._running[number] = self._here()
            end = self._caller.make(number, call)
            del self._running[number]
            self._begun.discard(number)
            self._caller.interrupts.pop(number, None)
            self._sending_queue.put(Answer(end=end))
            if not self._leaving and self._caller.full():
                self._leaving = True
            if time.monotonic() > turn:
                time.sleep(0)
                turn = time.monotonic() + TURN_SECONDS
            number = self._next()
        self._changed.set()

    def _next(self) -> int | None:
        """Return a call that can begin now; None: there is none."""
        if self._leaving or len(self._begun) >= self._slots:
            return None
        try:
            number = self._link.ticket()
        except BlockingIOError:
            return None
        if number is not None:
            self._begun.add(number)
        return number

    def _listen(self) -> None:
        """Heed what the parent says, for ever."""
        while True:
            for order in self._link.orders():
                if order.slots is not None:
                    self._slots = order.slots
                if order.interrupt is not None:
                    number, name = order.interrupt
                    module, _, kind = name.partition(":")
                    error = getattr(importlib.import_module(module), kind)()
                    self._greenlets.soon(self._interrupt, number, error)
            self._changed.set()

    def _interrupt(self, number: int, error: BaseException) -> None:
        """Interrupt a call, if it has not ended. In the hub, so that it cannot end in between."""
        if number not in self._begun:
            return
        self._caller.interrupts[number] = error
        task = self._caller.tasks.get(number)
        if task is not None:
            task.cancelled = isinstance(error, TaskCancelled)
            self._running[number].throw(error)
