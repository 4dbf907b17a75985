"""Messages as a person reads them, on one line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fbcli.console.output import visible
from fbcli.queues.dead import Letter
from fbcli.queues.envelope import Envelope
from fbcli.values.encoding import json_text
from fbcli.values.moments import local

LONGEST = 300
"""Characters of arguments shown in a table; `--json` shows all."""

PLAIN = ("task_id", "publish_time", "dead")
"""Keys of `extra` that are shown elsewhere."""


def arguments(message: Envelope) -> str:
    """Return the arguments as the shell would push them: `x=1 y="two"`."""
    if message.fault:
        return _shortened(f"not a message: {message.arguments['raw']}")
    return _shortened(
        " ".join(f"{name}={json_text(value)}" for name, value in message.arguments.items())
    )


def options(message: Envelope) -> str:
    """Return the options that a message sets for itself."""
    return _shortened(
        " ".join(
            f"{name}={json_text(value)}"
            for name, value in message.extra.items()
            if name not in PLAIN
        )
    )


def amount(count: int | None, noun: str = "message") -> str:
    """Return `1 message`, `2,000 messages`; None (not known): `all messages`."""
    return f"all {noun}s" if count is None else f"{count:,} {noun}{'' if count == 1 else 's'}"


def summary(letter: Letter) -> dict[str, Any]:
    """Return a dead letter as `fb dead ls --json` prints it."""
    return {
        "task_id": letter.task_id,
        "time": letter.died,
        "error_type": letter.detail("error_type"),
        "reason": letter.detail("reason"),
        "attempts": letter.attempts,
        "arguments": letter.arguments,
    }


def lines(letter: Letter) -> Iterator[str]:
    """Yield a dead letter in full, line by line, with control characters escaped."""
    facts = {
        "task id": letter.task_id,
        "died": "" if letter.died is None else local(letter.died),
        "on host": letter.detail("host"),
        "published": "" if letter.published is None else local(letter.published),
        "error": letter.detail("error_type"),
        "reason": letter.detail("reason"),
        "attempts": letter.detail("attempts"),
        "deliveries": letter.detail("deliveries"),
        "options": options(letter),
    }
    for name, value in facts.items():
        if value:
            yield f"{name:<10}  {visible(value)}"
    yield "arguments"
    for name, argument in letter.arguments.items():
        yield f"  {visible(name)} = {visible(json_text(argument))}"
    if letter.detail("traceback"):
        yield "traceback"
        yield from (
            f"  {visible(line.expandtabs())}" for line in letter.detail("traceback").splitlines()
        )


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
