"""The `fb.toml` to start from: written from the options themselves, so that it is never out of
date."""

from __future__ import annotations

from pathlib import Path

from fbcli.broker_registry import schemes
from fbcli.errors import Refused, UsageError, did_you_mean
from fbcli.options.gathered import OPTIONS
from fbcli.settings import FILE

HEAD = """\
# Settings of fb for this folder and those below it. Flags, FB_… variables and @boost(…) win over \
what is written here.
#   fb config show    prints what is in force, and where it comes from
#   fb config check   checks this file, the addresses in it, and whether broker and store answer

# Where the queues are. By default an SQLite file in the folder .fb, which needs no server.
# ${{NAME}} is taken from the environment, so that no password is written here.
{broker}

# Where results, pauses and the like are kept. By default beside the broker: its own \
server, else an SQLite file.
# store = "sqlite:///store.db"
"""

DEFAULTS = """\

# What holds for every function. The values shown are the built-in ones.
[defaults]
"""

TAIL = """\

# What holds for one function; it wins over [defaults].
# [tasks."mymod:task"]
# qps = 5
# retries = 5

# Other places to work on, chosen by --context NAME, FB_CONTEXT=NAME, or a line \
`context = "NAME"` at the top.
# [contexts.dev]
# broker = "sqlite:///dev.db"
"""

EXAMPLE = 'broker = "redis://:${REDIS_PASSWORD}@127.0.0.1:6379/0"'

HIDDEN = ("queue", "broker")
"""Options of one function; as a default for all of them they make no sense."""


def starter(broker: str | None = None) -> str:
    """Return the text of a new `fb.toml`. Raises `UsageError` for a broker URL that nothing answers
    to."""
    return HEAD.format(
        broker=f"# {EXAMPLE}" if broker is None else f"broker = {_text(_known(broker))}"
    ) + (DEFAULTS + "".join(_line(name) for name in OPTIONS if name not in HIDDEN) + TAIL)


def write_starter(folder: Path, *, broker: str | None = None, force: bool = False) -> Path:
    """Write a new `fb.toml` into `folder` and return its path. Raises `Refused` when there is one,
    unless `force`."""
    path = folder / FILE
    text = starter(broker)
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Refused(f"{path} is there already. To replace it: fb init --force") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from None
    return path


def _known(url: str) -> str:
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in schemes():
        raise UsageError(
            f"{url!r} is no broker's URL.{did_you_mean(scheme, schemes())} `fb brokers` lists what"
            " there is."
        )
    return url


def _line(name: str) -> str:
    option = OPTIONS[name]
    value = "…" if option.default is None else _value(option.default)
    return f"# {f'{name} = {value}':<24} # {option.help}\n"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return (
        f"{value:g}"
        if isinstance(value, float)
        else _text(value)
        if isinstance(value, str)
        else str(value)
    )


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
