"""The Python API: `@boost` on a function, or `Booster(function)` around one that shall stay as it
is.

@boost(qps=5, retries=5)
def task(x: int, y: int = 2) -> int: ...

task(1)                    # runs here and now
task.push(1, y=3)          # runs in whatever process consumes
task.consume()             # consumes in this process; returns at once
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from fbcli.address.address import Address, address_of
from fbcli.address.address import load as load_address
from fbcli.arguments.signature import Signature
from fbcli.broker import Outgoing
from fbcli.clock import SYSTEM
from fbcli.emulation import waits_in_store
from fbcli.errors import BadArguments, BadSetting, Refused, Unsupported, UsageError
from fbcli.message import decode, encode, new_task_id
from fbcli.options.publishing import PUBLISHING
from fbcli.queues.queue import Queue
from fbcli.settings import Origin, Settings, load
from fbcli.values.durations import parse_duration
from fbcli.values.moments import parse_moment

if TYPE_CHECKING:
    from fbcli.engine.consumer import Consumer
    from fbcli.engine.work import Work
    from fbcli.options.model import Options, TaskOptions
    from fbcli.results import AsyncResult
    from fbcli.stores.base import Store

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

PUSH_BATCH = 500
"""Messages published at once by `push_many`."""

_now = SYSTEM.now


class Booster(Generic[P, R]):
    """A function that can be pushed and consumed. Calling it calls the function. Making one
    connects to nothing."""

    def __init__(
        self,
        function: Callable[P, R],
        *,
        address: Address | None = None,
        settings: Settings | None = None,
        flags: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """`options` are those of `fbcli.Options`, as `@boost` takes them; `flags` win over all
        other sources."""
        if options:
            from fbcli.options.checking import unknown  # noqa: PLC0415
            from fbcli.options.gathered import OPTIONS  # noqa: PLC0415  all the controls

            for name in options.keys() - OPTIONS.keys():
                raise unknown(name, OPTIONS, lambda name: "@boost")
        functools.update_wrapper(self, function)
        self.__signature__ = inspect.signature(function)
        self.function = function
        self.decorated = options
        self._address = address
        self._settings = settings
        self._flags = dict(flags or {})

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """A boosted plain method stays a method when it is called on an object; pushing needs a
        function without `self`."""
        return self if instance is None else self.function.__get__(instance, owner)

    def __repr__(self) -> str:
        return f"<Booster {self.address.text}>"

    def bound(
        self, *, address: Address | None = None, settings: Settings, flags: Mapping[str, Any]
    ) -> Booster[P, R]:
        """Return the same function under other settings; what `@boost` says stays."""
        where = address or self._address
        return Booster(
            self.function, address=where, settings=settings, flags=flags, **self.decorated
        )

    # what it is

    @functools.cached_property
    def address(self) -> Address:
        """Where the function lives."""
        return self._address or address_of(self.function)

    @functools.cached_property
    def settings(self) -> Settings:
        """The settings in force; by default those of the working directory and environment at first
        use."""
        return self._settings or load()

    @functools.cached_property
    def options(self) -> Options:
        """The options in force. Raises `BadSetting`."""
        return self.settings.options(self.address.text, self.decorated, self._flags)

    @functools.cached_property
    def values(self) -> dict[str, Any]:
        """The options in force by their names. Raises `BadSetting`."""
        return self.settings.values(self.address.text, self.decorated, self._flags)

    @functools.cached_property
    def _publishing(self) -> dict[str, Any]:
        return self.settings.values(
            self.address.text, self.decorated, self._flags, known=PUBLISHING
        )

    @property
    def origins(self) -> dict[str, Origin]:
        """Every option with where its value came from, as written, not yet checked."""
        return self.settings.origins(self.address.text, self.decorated, self._flags)

    @functools.cached_property
    def signature(self) -> Signature:
        """What its messages may carry: its parameters; with batches anything. Raises `UsageError`
        for one named `extra`, which is reserved."""
        own = Signature.of(self.function)
        return own.open if self._publishing["batch"] else own

    @functools.cached_property
    def rows(self) -> str:
        """With batches: the parameter that takes the list of messages; else an empty text. Raises
        `UsageError`."""
        return Signature.of(self.function).rows if self._publishing["batch"] else ""

    @functools.cached_property
    def queue(self) -> Queue:
        """Its queue."""
        broker = self.settings.open_broker(self._publishing["broker"])
        return Queue(
            self._publishing["queue"] or self.address.queue, broker, self.settings.open_store
        )

    def open_results(self) -> Store:
        """Return the store where results of this function are kept. Raises `Unsupported` where that
        reaches less far than its queue, and nobody has chosen it."""
        return self.settings.store_for(self.queue.broker, "keep results")

    # publishing

    def push(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult:
        """Publish a call with these arguments; returns once the broker has it.

        Raises `BadArguments` when the function does not accept them, `BadMessage` when they cannot
        travel, `Unavailable`.
        """
        task_id = new_task_id()
        body = encode(
            self.signature.bind(args, kwargs), {"task_id": task_id, "publish_time": _now()}
        )
        self.queue.publish((Outgoing(body, self._publishing["priority"]),))
        return self._result(task_id)

    def push_many(self, calls: Iterable[Mapping[str, Any] | tuple[Any, ...]]) -> int:
        """Publish many calls in batches, each a mapping of arguments or a tuple of positional ones;
        return how many.

        `calls` may be endless or lazy. When one is bad, those before it are published.
        """
        total = 0
        calls = iter(calls)
        while True:
            batch: list[Outgoing] = []
            try:
                batch.extend(map(self._message, islice(calls, PUSH_BATCH)))
            finally:
                if batch:
                    self.queue.publish(batch)
            total += len(batch)
            if len(batch) < PUSH_BATCH:
                return total

    def _message(self, call: Mapping[str, Any] | tuple[Any, ...]) -> Outgoing:
        if isinstance(call, tuple):
            arguments = self.signature.bind(call, {})
        else:
            if "extra" in call:
                return self.message(call)
            arguments = self.signature.bind((), call)
        return Outgoing(
            encode(arguments, {"task_id": new_task_id(), "publish_time": _now()}),
            self._publishing["priority"],
        )

    def publish(
        self,
        arguments: Mapping[str, Any],
        *,
        task_id: str | None = None,
        delay: float | str | None = None,
        at: float | str | None = None,
        unique: bool = False,
        options: TaskOptions | None = None,
        **single: Any,
    ) -> AsyncResult:
        """Publish a call by a mapping of its arguments, with options of its own.

        `delay`: seconds (or "10m") from now; `at`: Unix time (or "18:00", ISO 8601). `options`, or
        its fields as keywords (`retries=0, timeout=5, expires=60, priority=9, result=True`), hold
        for this message alone. `arguments` may have a key `extra` with the same, as it travels. It
        is not changed. `unique`: raises `Refused` when the same call is queued or running.
        """
        message = self.message(
            arguments, task_id=task_id, delay=delay, at=at, unique=unique, options=options, **single
        )
        if not unique:
            self.queue.publish((message,))
        else:
            from fbcli.queues.unique import publish_unique  # noqa: PLC0415  most are not

            if publish_unique(self.queue, (message,)).repeated:
                raise repeated(self.queue)
        return self._result(task_id_of(message))

    def message(
        self,
        arguments: Mapping[str, Any],
        *,
        task_id: str | None = None,
        delay: float | str | None = None,
        at: float | str | None = None,
        unique: bool = False,
        options: TaskOptions | None = None,
        **single: Any,
    ) -> Outgoing:
        """Return the message that `publish` would publish."""
        plain = {name: value for name, value in arguments.items() if name != "extra"}
        if unique:
            self.settings.store_for(self.queue.broker, "tell the same calls apart")
        if single.get("result") or (options is not None and options.result):
            self.open_results()
        bound = self.signature.bind((), plain)
        return compose(
            bound,
            given=arguments.get("extra"),
            task_id=task_id,
            not_before=moment(delay, at),
            options=options,
            single=single,
            priority=self._publishing["priority"],
            queue=self.queue,
            unique=self._key_of(bound) if unique else None,
        )

    def _key_of(self, arguments: Mapping[str, Any]) -> str:
        from fbcli.stores.keys import key_of  # noqa: PLC0415  hashlib: 3 ms

        return key_of(arguments, self.values["dedupe_key"])

    def _result(self, task_id: str) -> AsyncResult:
        from fbcli.results import AsyncResult  # noqa: PLC0415  8 ms that `fb push` does not need

        return AsyncResult(task_id, self.open_results)

    async def apush(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult:
        """`push`, awaited; the event loop goes on meanwhile."""
        return await _in_thread(self.push, *args, **kwargs)

    async def apublish(self, arguments: Mapping[str, Any], **options: Any) -> AsyncResult:
        """`publish`, awaited."""
        return await _in_thread(self.publish, arguments, **options)

    async def apush_many(self, calls: Iterable[Mapping[str, Any] | tuple[Any, ...]]) -> int:
        """`push_many`, awaited."""
        return await _in_thread(self.push_many, calls)

    # consuming

    def work(self) -> Work:
        """Return what a consumer of this function needs."""
        from fbcli.engine.work import Work  # noqa: PLC0415  publishers need no engine

        return Work(
            address=self.address.text,
            root=self.settings.root,
            function=self.function,
            signature=self.signature,
            rows=self.rows,
            queue=self.queue.name,
            options=self.options,
            broker=self.queue.broker,
            store=self._shared_store(),
        )

    def _shared_store(self) -> Store:
        """Return the store for a consumer. Raises `Unsupported` where its options need one that all
        consumers share."""
        options, broker = self.options, self.queue.broker
        longest = max(options.backoff, options.backoff_max)
        for needed, what in (
            (options.results, "keep results"),
            (options.dedupe, "tell what was done before"),
            (options.max_per_key is not None, "limit calls by key"),
            (options.qps is not None and options.qps_scope == "cluster", "share a rate"),
            (options.backoff and waits_in_store(broker, longest), "delay messages"),
        ):
            if needed:
                self.settings.store_for(broker, what)
        return self.settings.open_store()

    def consume(self, **options: Any) -> Consumer:
        """Consume in a thread of this process and return at once; `.stop()` and `.join()` the
        consumer.

        `options` win over those of the decorator. For several processes use `fb consume --processes
        N`.
        """
        from fbcli.engine.consumer import Consumer  # noqa: PLC0415  publishers need no engine

        booster = (
            self.bound(settings=self.settings, flags={**self._flags, **options})
            if options
            else self
        )
        if booster.options.processes > 1:
            raise BadSetting(
                "consume() consumes in this process; start several with `fb consume ADDRESS"
                " --processes N`."
            )
        if booster.options.max_memory is not None and booster.options.mode not in (
            "process",
            "gevent",
            "eventlet",
        ):
            raise BadSetting(
                "max_memory replaces a process: `fb consume ADDRESS --max-memory SIZE` does that,"
                " consume() cannot."
            )
        return Consumer(booster.work()).start()

    def count(self) -> int | None:
        """Return how many messages are ready in the queue; None: the broker cannot tell."""
        size = self.queue.size()
        return None if size is None else size.ready

    def clear(self) -> int:
        """Remove all that is ready or delayed; return how many."""
        return self.queue.clear()

    async def acount(self) -> int | None:
        """`count`, awaited."""
        return await _in_thread(self.count)

    async def aclear(self) -> int:
        """`clear`, awaited."""
        return await _in_thread(self.clear)


async def _in_thread(act: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    from fbcli.results.waiters import in_thread  # noqa: PLC0415  as `AsyncResult` above

    return await in_thread(act, *args, **kwargs)


def find_booster(
    text: str, settings: Settings, flags: Mapping[str, Any] | None = None
) -> Booster[Any, Any]:
    """Return the booster at an address: the one that `@boost` made there, or a new one around a
    plain function.

    Raises `UsageError` for a text that is no address, `AddressNotFound` when nothing fit is there.
    """
    address = Address.parse(text, settings.root)
    found = load_address(address, settings.root)
    if isinstance(found, Booster):
        return found.bound(address=address, settings=settings, flags=flags or {})
    return Booster(found, address=address, settings=settings, flags=flags)


def named_booster(
    queue: str, settings: Settings, flags: Mapping[str, Any] | None = None
) -> Booster[Any, Any]:
    """Return a booster that publishes to a queue by its name; its function is not known here, so
    any arguments are taken."""
    return Booster(
        _unknown,
        address=Address(queue, "", ""),
        settings=settings,
        flags={**(flags or {}), "queue": queue},
    )


def _unknown(**arguments: Any) -> None:
    raise NotImplementedError("only its queue is known here")


def compose(
    arguments: Mapping[str, Any],
    *,
    queue: Queue,
    given: object = None,
    task_id: str | None = None,
    not_before: float | None = None,
    options: TaskOptions | None = None,
    single: Mapping[str, Any] | None = None,
    priority: int = 0,
    unique: str | None = None,
) -> Outgoing:
    """Return a message with options of its own. `given`: the `extra` that came with the arguments;
    what is set here wins.

    `unique`: what tells a message of which there is to be only one; its own `dedupe_key` goes
    before.
    """
    if given is not None and not isinstance(given, Mapping):
        raise BadArguments(
            "'extra' is reserved for a message's own options, and must be an object."
        )
    own = {**(options.model_dump(exclude_unset=True) if options else {}), **(single or {})}
    extra = {**(given or {}), **own}
    if not_before is not None:
        extra["delay_until"] = not_before
    if extra:
        extra = _checked(extra, own)
    extra["task_id"] = str(task_id or extra.get("task_id") or new_task_id())
    extra.setdefault("publish_time", _now())
    if unique is not None:
        extra["unique"] = extra.get("dedupe_key", unique)
    priority = extra.get("priority", priority)
    if priority and not queue.broker.capabilities.priority:
        scheme = queue.broker.url.partition("://")[0]
        raise Unsupported(
            f"{scheme}:// knows no priority. `fb brokers` shows what each broker can."
        )
    return Outgoing(encode(arguments, extra), priority, extra.get("delay_until"))


def _checked(extra: Mapping[str, Any], own: Iterable[str]) -> dict[str, Any]:
    """Return an `extra` whose options are checked and converted; those of `own` must be ones."""
    # all the controls
    from fbcli.options.gathered import (  # noqa: PLC0415
        MESSAGE_OPTIONS,
        checked_message_options,
    )

    names = {*own, *MESSAGE_OPTIONS} & extra.keys()
    return {
        **{name: value for name, value in extra.items() if name not in names},
        **checked_message_options({name: extra[name] for name in names}, lambda _: "The message"),
    }


def repeated(queue: Queue) -> Refused:
    """Return the error of a unique message whose like is there."""
    return Refused(
        f"The same call is already queued or running in {queue.name}, and unique was asked for:"
        " nothing was pushed."
    )


def moment(delay: float | str | None, at: float | str | None) -> float | None:
    """Return the Unix time that `delay` (from now) or `at` stands for; raises `UsageError` for both
    or for nonsense."""
    try:
        if delay is not None and at is not None:
            raise ValueError("give a delay or a time, not both")
        if delay is not None:
            return _now() + parse_duration(delay)
        if at is not None:
            return parse_moment(at, now=_now())
    except ValueError as error:
        raise UsageError(f"{error}.") from None
    return None


def task_id_of(message: Outgoing) -> str:
    """Return the task id in a message that `compose` made."""
    return str(decode(message.body)[1]["task_id"])


@overload
def boost(function: Callable[P, R], /) -> Booster[P, R]: ...
@overload
def boost(**options: Any) -> Callable[[Callable[P, R]], Booster[P, R]]: ...
def boost(function: Callable[P, R] | None = None, /, **options: Any) -> Any:
    """Make a function pushable: `@boost` or `@boost(queue="orders", qps=5, …)`. All options:
    `fbcli.Options`."""
    if function is None:
        return lambda decorated: Booster(decorated, **options)
    return Booster(function, **options)
