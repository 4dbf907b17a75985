"""All that can be set for one function, and the little that can be set for one message.

Each field is a flag of `fb consume` (`max_deliveries` -> `--max-deliveries`), a variable (`FB_MAX_DELIVERIES`), an argument of
`@boost(…)`, and a key of `fb.toml`: one name for one thing. Durations are seconds, or text like "1.5s", "10m", "2h", "7d".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from fbcli.errors import BadSetting, did_you_mean

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_CLOCK_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")


def parse_duration(value: object) -> object:
    """Return seconds for "90", "1.5s", "1h30m", "7d"; what is no text passes through. Raises `ValueError`."""
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    try:
        return float(text)
    except ValueError:
        pass
    if not text or _DURATION.sub("", text).strip():
        raise ValueError(f"{value!r} is not a duration; write seconds, or like 90s, 10m, 1h30m, 7d")
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


def parse_moment(text: str, *, now: float) -> float:
    """Return the Unix time of "18:00" (the next one, local time), "2026-12-24 18:00", ISO 8601 with a zone, or Unix seconds.

    `now` is Unix seconds. Raises `ValueError`.
    """
    text = text.strip()
    try:
        return float(text)
    except ValueError:
        pass
    if match := _CLOCK_TIME.fullmatch(text):
        hour, minute, second = (int(part or 0) for part in match.groups())
        today = datetime.fromtimestamp(now)
        moment = today.replace(hour=hour, minute=minute, second=second, microsecond=0)
        return (moment if moment > today else moment + timedelta(days=1)).timestamp()
    try:
        return datetime.fromisoformat(text.removesuffix("Z") + "+00:00" if text.endswith("Z") else text).timestamp()
    except ValueError:
        raise ValueError(f"{text!r} is not a time; write 18:00, '2026-12-24 18:00', or ISO 8601") from None


Seconds = Annotated[float, BeforeValidator(parse_duration), Field(ge=0)]
"""A duration in seconds; text such as "10m" is converted."""

Mode = Literal["auto", "threads", "asyncio", "solo"]


def _option(default: Any, panel: str, help: str, **constraints: Any) -> Any:
    return Field(default, description=help, json_schema_extra={"panel": panel}, **constraints)


class Options(BaseModel):
    """All that can be set for one function. Frozen; `fb config show ADDRESS` prints each value and where it came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue: str | None = _option(None, "Queue", "Queue name; by default module.function of the address.")
    broker: str | None = _option(None, "Queue", "Broker URL of this function, where it is not that of the context.")
    priority: int = _option(0, "Queue", "Priority of its messages: 0 (ordinary) to 9 (first).", ge=0, le=9)

    mode: Mode = _option("auto", "Running", "How calls run side by side; auto: asyncio for 'async def', else threads.")
    concurrency: int | None = _option(
        None, "Running", "Most calls at once in a process; by default 16 threads, 100 coroutines.", ge=1, le=100_000
    )
    processes: int = _option(1, "Running", "How many processes; each has its own rate and concurrency.", ge=1, le=1000)
    prefetch: int | None = _option(
        None, "Running", "Most messages held at once; by default about half a second of work.", ge=1, le=100_000
    )
    drain: Seconds = _option(25.0, "Running", "On a stop, how long running calls may take to finish (seconds).")
    heartbeat: Seconds = _option(
        5.0, "Running", "Seconds between heartbeats; a dead consumer's tasks are back within three.", ge=0.1
    )
    qps: float | None = _option(
        None, "Rate", "Starts per second in each process, evenly paced: 5, 0.02, 200.", ge=0.001, le=100_000
    )

    retries: int = _option(3, "Failure", "How often a failed call is tried again.", ge=0)
    backoff: Seconds = _option(
        0.0, "Failure", "Seconds before the first retry, doubled for each further one, with jitter; 0: at once."
    )
    backoff_max: Seconds = _option(600.0, "Failure", "Longest wait between retries (seconds).")
    timeout: Seconds | None = _option(None, "Failure", "Seconds after which a call is interrupted and has failed.", gt=0)
    max_deliveries: int = _option(
        10, "Failure", "A message that was lost with its worker this often goes to the dead letters.", ge=1
    )
    dead: bool = _option(True, "Failure", "Keep what failed for good in the queue NAME.dead; else drop it.")
    expires: Seconds | None = _option(None, "Failure", "Seconds after its publishing when a message is dropped unrun.", gt=0)

    results: bool = _option(False, "Results", "Save what each call returns, or how it failed.")
    result_ttl: Seconds = _option(86400.0, "Results", "How long a result is kept (seconds).", gt=0)

    @classmethod
    def make(cls, values: dict[str, Any], *, source: Callable[[str], str]) -> Options:
        """Return options from loose values; raises `BadSetting` that says what is wrong, and by `source(name)` where it is."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise BadSetting(explain(error, cls, source)) from None


class TaskOptions(BaseModel):
    """What one message may set for itself, beside its arguments. Travels in `extra`, only where set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    retries: int | None = Field(None, ge=0)
    timeout: Seconds | None = Field(None, gt=0)
    expires: Seconds | None = Field(None, gt=0)
    delay_until: float | None = None
    """Unix time before which it does not start."""
    priority: int | None = Field(None, ge=0, le=9)
    result: bool | None = None


PER_MESSAGE = frozenset({"retries", "timeout", "expires"})
"""The keys of `extra` that stand for an option of the same name."""


def explain(error: ValidationError, model: type[BaseModel], source: Callable[[str], str]) -> str:
    """Return one sentence for the first thing wrong in a validation error."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"]) or "value"
    if first["type"] == "extra_forbidden":
        return f"{source(name)} sets {name!r}, which is not an option.{did_you_mean(name, model.model_fields)}"
    text = first["msg"].removeprefix("Value error, ")
    return f"{source(name)}: {name} = {first['input']!r} cannot be used: {text[:1].lower()}{text[1:]}."
