"""One function consumed in one process: intake, pool and services put together, in the order in which they start and stop."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import ValidationError

from fbcli.arguments import Signature
from fbcli.broker import Broker, Inbox
from fbcli.clock import SYSTEM, Clock
from fbcli.connection import mask
from fbcli.controls.base import Gate
from fbcli.controls.pause import Pause
from fbcli.controls.rate import Rate
from fbcli.controls.timeout import Deadlines
from fbcli.engine.intake import FIRST_BACKOFF, LAST_BACKOFF, Intake, OnClosed
from fbcli.engine.lifecycle import arun, interrupted, run
from fbcli.engine.plan import Plan, is_async
from fbcli.engine.services import Heartbeat, Mover, Service, Watch
from fbcli.engine.settler import HOST, Settler
from fbcli.engine.tally import Snapshot, Tally
from fbcli.errors import BadMessage, BadSetting, FbError, Unavailable
from fbcli.options import PER_MESSAGE, Options, TaskOptions, explain
from fbcli.pools.base import Pool
from fbcli.pools.coroutines import CoroutinePool, in_threads
from fbcli.pools.threads import ThreadPool
from fbcli.stores.base import Store, Worker
from fbcli.task import Task

log = logging.getLogger("fbcli.consumer")

THREADS = 16
COROUTINES = 100
LEASE_BEATS = 2.0
"""A lease lasts so many heartbeats, and is looked after twice a heartbeat: a dead consumer's tasks are back within three."""

MOST_PLANS = 1000
"""How many combinations of per-message options are kept compiled."""


@dataclass(frozen=True)
class Work:
    """What a consumer consumes."""

    address: str
    function: Callable[..., Any]
    signature: Signature
    queue: str
    options: Options
    broker: Broker
    store: Store


class Consumer:
    """Consumes one queue. `start` returns at once; `serve` blocks in the calling thread."""

    def __init__(
        self,
        work: Work,
        *,
        burst: bool = False,
        max_tasks: int | None = None,
        on_closed: OnClosed | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self.work = work
        self.consumer_id = f"{HOST}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.tally = Tally()
        self.failure: BaseException | None = None
        """Why it ended, if it did not end as it should."""
        self._burst = burst
        self._max_tasks = max_tasks
        self._on_closed = on_closed
        self._clock = clock
        self._mode = _mode(work)
        self._pause = Pause()
        self._inbox: Inbox
        self._intake: Intake | None = None
        self._pool: Pool | None = None
        self._thread: threading.Thread | None = None
        self._opened = threading.Lock()
        self._stopped = threading.Event()
        self._stop_asked: float | None = None
        self._quiet_asked = False
        self.trouble = ""
        """Why it has not begun yet."""
        self.state = "new"
        self._plans: dict[tuple[Any, ...], Plan] = {}
        self._deadlines = Deadlines(self._strike, self._give_up, clock)

    @property
    def concurrency(self) -> int:
        """Most calls at once."""
        if self._mode == "solo":
            return 1
        return self.work.options.concurrency or (COROUTINES if self._mode == "asyncio" else THREADS)

    def start(self) -> Consumer:
        """Consume in a thread of its own. Idempotent."""
        if self._thread is None:
            self._thread = threading.Thread(target=self.serve, name=f"fb-{self.work.queue}", daemon=True)
            self._thread.start()
        return self

    def join(self, timeout: float | None = None) -> bool:
        """Wait until it has ended (seconds; None: as long as it takes); False when it has not."""
        if self._thread is not None:
            self._thread.join(timeout)
            return not self._thread.is_alive()
        return self.state in ("new", "stopped")

    def stop(self, drain: float | None = None) -> None:
        """Fetch no more; what runs may finish within `drain` seconds (default: the option); the rest goes back. Returns at once."""
        drain = self.work.options.drain if drain is None else drain
        with self._opened:
            self._stop_asked = drain
            self._stopped.set()
            if self._intake is not None and self.state != "stopped":
                self.state = "draining"
                self._intake.stop(drain)

    def quiet(self) -> None:
        """Fetch no more, but stay and keep the lease."""
        with self._opened:
            self._quiet_asked = True
            if self._intake is not None:
                self._intake.quiet()

    def running(self) -> list[Task]:
        """Return the tasks that run now."""
        return [] if self._pool is None else self._pool.running()

    def snapshot(self) -> Snapshot:
        """Return the state of this moment. From any thread."""
        intake = self._intake
        return Snapshot(
            queue=self.work.queue,
            address=self.work.address,
            counts=msgspec.structs.replace(self.tally.counts),
            in_flight=0 if intake is None else intake.in_hand,
            running=len(self.running()),
            concurrency=self.concurrency,
            paused=self._pause.closed(),
            state=self.state,
            trouble=self.trouble if intake is None else intake.trouble,
            seconds=list(self.tally.seconds),
            unfinished=0 if intake is None else intake.unfinished,
        )

    def serve(self) -> None:
        """Consume until stopped. An error of fbcli itself ends it with `failure` set: nothing is lost, the lease runs out."""
        try:
            self._serve()
        except FbError as error:
            self.failure = error
            log.error("%s", error)
        except BaseException as error:
            self.failure = error
            log.critical("the consumer of %s has failed: %r", self.work.queue, error, exc_info=error)
        finally:
            self.state = "stopped"

    def _serve(self) -> None:
        work, options = self.work, self.work.options
        lease = options.heartbeat * LEASE_BEATS
        prefetch = options.prefetch or self.concurrency
        inbox = self._open_inbox(prefetch, lease)
        if inbox is None:
            return
        self._inbox = inbox
        plan = self._compile(options, keeps=options.results)
        gates: list[Gate] = [self._pause]
        if options.qps is not None:
            gates.append(Rate(options.qps))
        intake = Intake(
            inbox=self._inbox,
            settler=Settler(work.queue, work.broker, self._inbox, work.store, self._clock),
            plan=plan,
            plan_for=self._plan_for,
            gates=gates,
            tally=self.tally,
            prefetch=options.prefetch,
            burst=self._burst,
            max_tasks=self._max_tasks,
            on_closed=self._on_closed,
            clock=self._clock,
        )
        self._pool = pool = self._make_pool(intake)
        worker = Worker(self.consumer_id, HOST, os.getpid(), self._clock.now(), {})
        heartbeat = Heartbeat(self._inbox, self.tally, options.heartbeat / 2)
        watch = Watch(work.store, work.queue, self._pause, intake, worker, self.tally, self._clock)
        services: list[Service] = [heartbeat, watch]
        if not work.broker.capabilities.delay:
            services.append(Mover(work.store, work.broker, work.queue))
        with self._opened:
            self._intake = intake
            self.state = "running"
            if self._quiet_asked:
                intake.quiet()
            if self._stop_asked is not None:
                intake.stop(self._stop_asked)
        log.info(
            "consuming %s from %s on %s (%s)",
            work.address,
            work.queue,
            mask(work.broker.url),
            _described(self._mode, self.concurrency),
        )
        watch.first_look()
        for service in services:
            service.start()
        try:
            intake.serve(pool)
        finally:
            for service in services:
                service.stop()
            self._deadlines.close()
            pool.close()
            watch.retire()

    def _open_inbox(self, prefetch: int, lease: float) -> Inbox | None:
        """Open the inbox, however long the broker takes to be there; None when it is told to stop before.

        Only one that shall end when the queue is empty fails at once: nobody waits for it to run for ever.
        """
        backoff = 0.0
        while True:
            try:
                return self.work.broker.open(self.work.queue, consumer_id=self.consumer_id, prefetch=prefetch, lease=lease)
            except Unavailable as error:
                if self._burst:
                    raise
                if not backoff:
                    log.error("%s Trying again until it works.", error)
                self.trouble = str(error)
                backoff = min(LAST_BACKOFF, backoff * 2 or FIRST_BACKOFF)
            if self._stopped.wait(backoff):
                return None

    def _make_pool(self, intake: Intake) -> Pool:
        if self._mode == "asyncio":
            return CoroutinePool(self.concurrency, arun, intake.done, name=f"fb-{self.work.queue}")
        return ThreadPool(self.concurrency, run, intake.done, name=f"fb-{self.work.queue}")

    def _compile(self, options: Options, *, keeps: bool, delayed: bool = False) -> Plan:
        function = _callable_for(self._mode, self.work)
        return Plan(self.work.queue, function, self.work.signature, options, self._deadlines, keeps=keeps, delayed=delayed)

    def _plan_for(self, extra: dict[str, Any]) -> Plan:
        """Return the plan of a message that sets options for itself; raises `BadMessage` when they cannot be used."""
        changes = {name: extra[name] for name in PER_MESSAGE if name in extra}
        keeps = bool(extra.get("result", self.work.options.results))
        delayed = "delay_until" in extra
        try:
            key = (*sorted(changes.items()), keeps, delayed)
            plan = self._plans.get(key)
        except TypeError:
            raise BadMessage("The message's own options cannot be used: they are no plain values.") from None
        if plan is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            try:
                checked = TaskOptions(**changes).model_dump(exclude_unset=True)
                options = Options.make({**self.work.options.model_dump(), **checked}, source=lambda name: "extra")
            except ValidationError as error:
                text = explain(error, TaskOptions, lambda name: "extra")
                raise BadMessage(f"The message's own options cannot be used: {text}") from None
            except BadSetting as error:
                raise BadMessage(f"The message's own options cannot be used: {error}") from None
            plan = self._plans[key] = self._compile(options, keeps=keeps, delayed=delayed)
        return plan

    # timeouts

    def _strike(self, task: Task, exception: type[BaseException]) -> bool:
        return self._pool is not None and self._pool.interrupt(task.task_id, exception)

    def _give_up(self, task: Task) -> bool:
        """A call that did not react to its timeout: settle it as timed out, and let another thread have its slot."""
        abandoned = None if self._pool is None else self._pool.abandon(task.task_id)
        if abandoned is None:
            return False
        interrupted(abandoned)
        log.warning(
            "timed out, and could not be interrupted (it is inside a call in C); its thread is left behind until that returns",
            extra={"task_id": task.task_id},
        )
        assert self._intake is not None
        self._intake.done(abandoned)
        return True


def _mode(work: Work) -> str:
    mode = work.options.mode
    if mode == "auto":
        return "asyncio" if is_async(work.function) else "threads"
    return mode


def _described(mode: str, concurrency: int) -> str:
    """Return how calls run, for a person."""
    if concurrency == 1:
        return "one call at a time"
    return f"up to {concurrency} {'coroutines' if mode == 'asyncio' else 'threads'}"


def _callable_for(mode: str, work: Work) -> Callable[..., Any]:
    """Return the function in the form that the pool calls: by keywords, and awaitable or not as the pool is."""
    function, signature = work.function, work.signature
    if mode == "asyncio":
        function = function if is_async(function) else in_threads(function)
    elif is_async(function):
        function = _in_own_loop(function)
    return function if signature.keywords_only else _by_keywords(function, signature)


def _by_keywords(function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
    """Return a callable by keywords for a function with positional-only parameters."""

    def call(**arguments: Any) -> Any:
        args, kwargs = signature.positional(arguments)
        return function(*args, **kwargs)

    return call


def _in_own_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a plain function that runs an `async def` to its end in an event loop of the calling thread."""
    local = threading.local()

    def call(*args: Any, **kwargs: Any) -> Any:
        if not hasattr(local, "loop"):
            local.loop = _ThreadLoop()
        return local.loop.run(function(*args, **kwargs))

    return call


class _ThreadLoop:
    """An event loop that is closed when its thread ends (and with it what the thread keeps)."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self.run = self._loop.run_until_complete

    def __del__(self) -> None:
        self._loop.close()
