"""All that can be set for one function, and the little that can be set for one message.

Each field is a flag of `fb consume` (`max_deliveries` -> `--max-deliveries`), a variable
(`FB_MAX_DELIVERIES`), an argument of `@boost(…)`, and a key of `fb.toml`: one name for one thing.
Durations are seconds, or text like "1.5s", "10m", "2h", "7d".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from fbcli.errors import BadSetting, did_you_mean
from fbcli.values.durations import parse_duration
from fbcli.values.names import parse_names
from fbcli.values.per_key import PerKey, parse_per_key
from fbcli.values.sizes import parse_size
from fbcli.values.thresholds import Threshold, parse_threshold
from fbcli.values.windows import check_window, check_zone

Seconds = Annotated[float, BeforeValidator(parse_duration), Field(ge=0)]
"""A duration in seconds; text such as "10m" is converted."""

Bytes = Annotated[int, BeforeValidator(parse_size), Field(ge=1)]
"""A size in bytes; text such as "500MB" is converted."""

Names = Annotated[tuple[str, ...], BeforeValidator(parse_names)]
"""Names; in text separated by commas."""


def number_or_auto(value: object) -> object:
    """Return a number for text that is one."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


Concurrency = Annotated[
    Annotated[int, Field(ge=1, le=100_000)] | Literal["auto"], BeforeValidator(number_or_auto)
]
PerKeyLimit = Annotated[PerKey, BeforeValidator(parse_per_key)]
FailureThreshold = Annotated[Threshold, BeforeValidator(parse_threshold)]
Windows = Annotated[str, AfterValidator(check_window)]
"""Spans of time, like "22:00-06:00"."""
Zone = Annotated[str, AfterValidator(check_zone)]
"""A time zone by its name, like "Europe/Berlin"."""

Mode = Literal["auto", "threads", "asyncio", "gevent", "eventlet", "process", "solo"]


def _option(default: Any, panel: str, help: str, **constraints: Any) -> Any:
    return Field(default, description=help, json_schema_extra={"panel": panel}, **constraints)


class Options(BaseModel):
    """All that can be set for one function. Frozen; `fb config show ADDRESS` prints each value and
    where it came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue: str | None = _option(
        None, "Queue", "Queue name; by default module.function of the address."
    )
    broker: str | None = _option(
        None, "Queue", "Broker URL of this function, where it is not that of the context."
    )
    priority: int = _option(
        0, "Queue", "Priority of its messages: 0 (ordinary) to 9 (first).", ge=0, le=9
    )

    mode: Mode = _option(
        "auto",
        "Running",
        "How calls run side by side; auto: asyncio for 'async def', else threads.",
    )
    concurrency: Concurrency | None = _option(
        None,
        "Running",
        "Most calls at once in a process; by default 16 threads, 100 coroutines, a child process"
        " for each core; auto: it finds its own level.",
    )
    share_pool: bool = _option(
        False,
        "Running",
        "Share one pool of that many slots with the other functions of the process.",
    )
    processes: int = _option(
        1,
        "Running",
        "How many processes; each has its own concurrency, and rate unless --qps-scope cluster.",
        ge=1,
        le=1000,
    )
    prefetch: int | None = _option(
        None,
        "Running",
        "Most messages held at once; by default about half a second of work.",
        ge=1,
        le=100_000,
    )
    drain: Seconds = _option(
        25.0, "Running", "On a stop, how long running calls may take to finish (seconds)."
    )
    heartbeat: Seconds = _option(
        5.0,
        "Running",
        "Seconds between heartbeats; a dead consumer's tasks are back within three.",
        ge=0.1,
    )
    max_memory: Bytes | None = _option(
        None,
        "Running",
        "A process that holds more than this (500MB) drains and is replaced; with modes process,"
        " gevent and eventlet: the child.",
    )
    tasks_per_child: int | None = _option(
        None, "Running", "With mode process: a child is replaced after so many calls.", ge=1
    )
    watchdog: Seconds = _option(
        60.0,
        "Running",
        "Exit when nothing can be fetched for so long though the queue is not empty (seconds); 0:"
        " never.",
    )
    batch: int | None = _option(
        None,
        "Running",
        "Call the function with a list of the arguments of up to so many messages.",
        ge=1,
        le=10_000,
    )
    batch_wait: Seconds = _option(
        0.5, "Running", "How long a batch waits to become full (seconds)."
    )

    qps: float | None = _option(
        None,
        "Rate",
        "Starts per second, evenly paced: 5, 0.02, 200; see --qps-scope.",
        ge=0.001,
        le=100_000,
    )
    qps_scope: Literal["process", "cluster"] = _option(
        "process",
        "Rate",
        "Whether qps holds for each process, or for all processes and hosts together.",
    )
    qps_group: str | None = _option(
        None,
        "Rate",
        "Share one qps with all functions of this group, on all hosts.",
        min_length=1,
        max_length=200,
    )
    max_per_key: PerKeyLimit | None = _option(
        None,
        "Rate",
        "Most calls at once for each value of an argument, on all hosts: customer_id=2.",
    )
    breaker: FailureThreshold | None = _option(
        None, "Rate", "Stop taking work after so many failures within a time, for that time: 5/60s."
    )
    window: Windows | None = _option(
        None,
        "Time",
        "Run only within: 22:00-06:00, 'mon-fri 9:00-17:00', or cron '* 9-17 * * 1-5'; several"
        " separated by ';'.",
    )
    not_between: Windows | None = _option(None, "Time", "Do not run within; written like --window.")
    tz: Zone | None = _option(
        None,
        "Time",
        "Time zone of the windows, like Europe/Berlin; by default that of the machine.",
    )

    dedupe: bool = _option(
        False, "Dedupe", "Drop a message whose call has succeeded before, or wait while it runs."
    )
    dedupe_key: Names | None = _option(
        None, "Dedupe", "The arguments that tell calls apart, like user_id; by default all."
    )
    dedupe_ttl: Seconds | None = _option(
        None, "Dedupe", "How long a success is remembered (seconds); by default for ever.", gt=0
    )

    retries: int = _option(3, "Failure", "How often a failed call is tried again.", ge=0)
    backoff: Seconds = _option(
        0.0,
        "Failure",
        "Seconds before the first retry, doubled for each further one, with jitter; 0: at once.",
    )
    backoff_max: Seconds = _option(
        600.0, "Failure", "Longest wait between retries (seconds); a larger backoff wins."
    )
    retry_on: Names | None = _option(
        None,
        "Failure",
        "Retry these exceptions (and their subclasses) only: ConnectionError,requests.Timeout;"
        " Timeout: a call that ran too long.",
    )
    timeout: Seconds | None = _option(
        None, "Failure", "Seconds after which a call is interrupted and has failed.", gt=0
    )
    max_deliveries: int = _option(
        10,
        "Failure",
        "A message that was lost with its worker this often goes to the dead letters.",
        ge=1,
    )
    dead: bool = _option(
        True, "Failure", "Keep what failed for good in the queue NAME.dead; else drop it."
    )
    expires: Seconds | None = _option(
        None, "Failure", "Seconds after its publishing when a message is dropped unrun.", gt=0
    )

    results: bool = _option(False, "Results", "Save what each call returns, or how it failed.")
    result_ttl: Seconds = _option(86400.0, "Results", "How long a result is kept (seconds).", gt=0)

    def without_effect(self) -> list[str]:
        """Return a sentence for each option that was set and changes nothing while a consumer runs,
        since another one is not set."""
        pairs = (
            ("qps_group", self.qps_group, "qps", self.qps),
            ("dedupe_key", self.dedupe_key, "dedupe", self.dedupe),
            ("dedupe_ttl", self.dedupe_ttl, "dedupe", self.dedupe),
            ("tz", self.tz, "window", self.window or self.not_between),
        )
        return [
            f"{name} has no effect here without {needed}."
            for name, value, needed, given in pairs
            if value and not given
        ]

    @classmethod
    def make(cls, values: dict[str, Any], *, source: Callable[[str], str]) -> Options:
        """Return options from loose values; raises `BadSetting` that says what is wrong, and by
        `source(name)` where it is."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise BadSetting(explain(error, cls, source)) from None


class TaskOptions(BaseModel):
    """What one message may set for itself, beside its arguments. Travels in `extra`, only where
    set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    retries: int | None = Field(None, ge=0)
    timeout: Seconds | None = Field(None, gt=0)
    expires: Seconds | None = Field(None, gt=0)
    delay_until: float | None = None
    """Unix time before which it does not start."""
    priority: int | None = Field(None, ge=0, le=9)
    result: bool | None = None
    dedupe_key: str | None = Field(None, min_length=1, max_length=1000)
    """What counts as the same call, instead of its arguments."""


PER_MESSAGE = frozenset({"retries", "timeout", "expires"})
"""The keys of `extra` that stand for an option of the same name."""


def explain(error: ValidationError, model: type[BaseModel], source: Callable[[str], str]) -> str:
    """Return one sentence for the first thing wrong in a validation error."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "value"
    if first["type"] == "extra_forbidden":
        return (
            f"{source(name)} sets {name!r}, which is not an"
            f" option.{did_you_mean(name, model.model_fields)}"
        )
    text = first["msg"].removeprefix("Value error, ")
    return (
        f"{source(name)}: {name} = {first['input']!r} cannot be used: {text[:1].lower()}{text[1:]}."
    )
