"""What can stand for a kind of thing on the command line: a queue, an address, a task id. Fast,
silent, and without importing the user's code or writing anything: it runs while a person types.

A kind is the placeholder that `--help` shows (`QUEUE`, `ADDRESS`, `NAME=VALUE`), so that whoever
writes a command with the usual placeholders has it completed. Knows nothing of commands.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from fbcli.address.outline import find_addresses, parameter_names
from fbcli.broker import DEAD_SUFFIX
from fbcli.broker_registry import schemes
from fbcli.clients.sqlite import path_of
from fbcli.errors import FbError
from fbcli.queues.dead import DeadLetters
from fbcli.queues.lookup import find_queue
from fbcli.results.status import runs_of
from fbcli.settings import Settings, load
from fbcli.stores import SCHEMES as STORES

PATIENCE = 0.25
"""Seconds that a broker has to answer."""

MOST = 200
"""Most candidates that are read from a broker."""

_SAFE = re.compile(r"[\w.:/=@%+,~-]+")
"""What can be typed at a shell without quotes. Queues and tasks are named by others: nothing else
is offered."""


class Candidate(NamedTuple):
    """One way to go on."""

    text: str
    """Replaces the word being typed. After `=`, `:` and `/` there is more to come."""
    help: str = ""


@dataclass(frozen=True)
class Asked:
    """What is known of the line being typed."""

    current: str
    """The word being typed, up to the cursor."""
    command: tuple[str, ...] = ()
    """The subcommand: `("dead", "show")`."""
    words: Sequence[str] = ()
    """The command's words before the current one, options left out."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Values of the options given: `{"--broker": "redis://…"}`."""

    @cached_property
    def settings(self) -> Settings:
        """Raises `BadSetting`."""
        given = self.options.get
        return load(context=given("--context"), broker=given("--broker"), store=given("--store"))

    @property
    def root(self) -> Path:
        """The project's folder."""
        try:
            return self.settings.root
        except FbError:
            return Path.cwd()


FILES = Candidate(":files")
"""Stands for: let the shell complete the name of a file."""


def candidates(kind: str, asked: Asked) -> list[Candidate]:
    """Return what can stand for `kind` in the place of the word being typed."""
    if "|" in kind:
        found: Iterable[Candidate] = map(Candidate, filter(str.islower, kind.split("|")))
    elif kind in ("FILE", "FOLDER"):
        return [FILES]
    else:
        found = SOURCES.get(kind, _nothing)(asked)
    return [
        candidate
        for candidate in dict.fromkeys(found)
        if candidate is FILES
        or (candidate.text.startswith(asked.current) and _SAFE.fullmatch(candidate.text))
    ]


def _nothing(asked: Asked) -> Iterable[Candidate]:
    return ()


def _addresses(asked: Asked) -> Iterable[Candidate]:
    return map(Candidate, find_addresses(asked.root, asked.current))


def _queues(asked: Asked) -> Iterable[Candidate]:
    dead = asked.command[:1] == ("dead",)

    def listed() -> list[str]:
        names = _reachable(asked.settings).open_broker().queues()
        return [
            name.removesuffix(DEAD_SUFFIX)
            for name in names
            if not dead or name.endswith(DEAD_SUFFIX)
        ]

    names = [name for name in _patiently(asked, listed) if name.startswith(asked.current)][:MOST]
    return [*map(Candidate, names), *(() if names else _addresses(asked))]


def _task_ids(asked: Asked) -> Iterable[Candidate]:
    def listed() -> list[Candidate]:
        if asked.command[0] in ("show", "cancel"):
            store = _reachable(asked.settings).open_store()
            ended = () if asked.command[0] == "cancel" else store.results(limit=MOST)
            running = [Candidate(task_id, "running") for task_id in runs_of(store.consumers())]
            return [
                *running,
                *(Candidate(result.task_id, f"{result.state} {result.queue}") for result in ended),
            ]
        if not asked.words:
            return []
        queue = find_queue(asked.words[0], _reachable(asked.settings), importing=False)
        if asked.command[0] == "delayed":
            return [Candidate(message.task_id) for message in queue.delayed(MOST)]
        if asked.command[0] == "dead":
            letters = DeadLetters.of(queue).letters(MOST)
            return [
                Candidate(letter.task_id, f"{letter.detail('error_type')} {letter.reason}")
                for letter in letters
            ]
        return []

    return [
        candidate for candidate in _patiently(asked, listed) if candidate.text not in asked.words
    ]


def _arguments(asked: Asked) -> Iterable[Candidate]:
    """Parameters of the function named before; after `x=@` a file."""
    if re.match(r"\w+:?=@", asked.current):
        return [FILES]
    address = next((word for word in asked.words if ":" in word and "=" not in word), "")
    given = {re.split(":?=", word)[0] for word in asked.words}
    return [
        Candidate(
            f"{name}=",
            annotation
            + (f" = {default}" if annotation and default else f"={default}" if default else ""),
        )
        for name, annotation, default in parameter_names(asked.root, address)
        if name not in given
    ]


def _brokers(asked: Asked) -> Iterable[Candidate]:
    return [Candidate(f"{scheme}://") for scheme in schemes()]


def _stores(asked: Asked) -> Iterable[Candidate]:
    return [Candidate(f"{scheme}://") for scheme in STORES]


def _contexts(asked: Asked) -> Iterable[Candidate]:
    return map(Candidate, load().contexts)


SOURCES: Mapping[str, Callable[[Asked], Iterable[Candidate]]] = {
    "ADDRESS": _addresses,
    "QUEUE": _queues,
    "TASK_ID": _task_ids,
    "NAME=VALUE": _arguments,
    "CONTEXT": _contexts,
    "--queue": _queues,
    "--broker": _brokers,
    "--store": _stores,
    "--context": _contexts,
}
"""Placeholder (or an option whose placeholder says less than its name) -> what can stand there."""


def _reachable(settings: Settings) -> Settings:
    """Return the settings; raises `FbError` when looking into their broker would make a new
    file."""
    if settings.broker_url.startswith("sqlite:") and not path_of(settings.broker_url).exists():
        raise FbError("There is no queue yet.")
    return settings


def _patiently(asked: Asked, ask: Callable[[], list[Any]]) -> list[Any]:
    """Return what a broker answers in time; nothing when it does not, cannot or is not there."""
    answers: list[Any] = []
    trouble: list[Exception] = []

    def run() -> None:
        try:
            try:
                answers.extend(ask())
            finally:
                asked.settings.close()
        except Exception as error:  # noqa: BLE001  raised again below, where it can be seen
            trouble.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if trouble and not isinstance(trouble[0], FbError):
        raise trouble[0]
    return answers
