"""What the completion scripts of the shells ask: `fb __complete --current=WORD WORDS…` prints a
candidate a line, with its description after a tab, or `:files`. Looks at commands by the few
attributes that all versions of typer and click share."""

from __future__ import annotations

import importlib
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import islice, repeat
from typing import Any, NamedTuple

import typer

from fbcli.completion import FILES, SOURCES, Asked, Candidate, candidates
from fbcli.console.output import Output, visible

from ._listing import commands, is_command

HELP = Candidate("--help", "Show help and exit.")


def main(arguments: Sequence[str]) -> None:
    """Answer a shell. Never fails: what goes wrong must not disturb the line that is being typed
    (`FB_DEBUG=1` shows it)."""
    try:
        current, *words = arguments
        out = Output()
        for candidate in complete(
            [_unquoted(word) for word in words], _unquoted(current.removeprefix("--current="))
        ):
            out.text(
                f"{candidate.text}\t{visible(candidate.help)}" if candidate.help else candidate.text
            )
    except Exception:
        if os.environ.get("FB_DEBUG"):
            raise


def complete(words: Sequence[str], current: str) -> list[Candidate]:
    """Return what can stand in the place of `current` after `fb` and `words`."""
    if not words:
        names = [Candidate(name, entry.help) for name, entry in commands().items()]
        return _starting([*names, HELP, Candidate("--version", "Print the version.")], current)
    if not is_command(words[0]):
        return []
    command: Any = typer.main.get_command(importlib.import_module(f"fbcli.commands.{words[0]}").app)
    path, rest = tuple(words[:1]), list(words[1:])
    inner: dict[str, Any] = getattr(command, "commands", {})
    if inner:
        if not rest:
            return _starting(
                [*(Candidate(name, _sentence(each)) for name, each in inner.items()), HELP], current
            )
        if rest[0] not in inner:
            return []
        command, path, rest = inner[rest[0]], tuple(words[:2]), rest[1:]
    line = _read(command, rest)
    asked = Asked(current, path, line.words, line.options)
    if line.open is not None:
        return candidates(_kind(line.open), asked)
    if current.startswith("-") and not line.ended:
        return _options(command, asked)
    kind = next(islice(_placeholders(command), len(line.words), None), None)
    return candidates(kind, asked) if kind else []


class _Words(NamedTuple):
    """The words of a command, told apart."""

    words: list[str]
    options: dict[str, str]
    open: Any
    """The option whose value comes next."""
    ended: bool
    """Whether `--` has ended the options."""


def _read(command: Any, words: Sequence[str]) -> _Words:
    known = {
        name: option
        for option in _given_by(command, "option")
        for name in (*option.opts, *option.secondary_opts)
    }
    line = _Words([], {}, None, False)
    for word in words:
        name, equals, value = word.partition("=")
        if line.open is not None:
            line.options[line.open.opts[0]] = word
            line = line._replace(open=None)
        elif line.ended or not word.startswith("-") or word == "-":
            line.words.append(word)
        elif word == "--":
            line = line._replace(ended=True)
        elif (option := known.get(name)) is not None:
            line.options[option.opts[0]] = value
            if not equals and _takes_value(option):
                line = line._replace(open=option)
    return line


def _options(command: Any, asked: Asked) -> list[Candidate]:
    """Return the options, or the values of one that is written `--option=value`."""
    options = _given_by(command, "option")
    name, equals, value = asked.current.partition("=")
    if equals:
        option = next((each for each in options if name in each.opts and _takes_value(each)), None)
        found = (
            []
            if option is None
            else candidates(_kind(option), Asked(value, asked.command, asked.words, asked.options))
        )
        return [
            each if each is FILES else Candidate(f"{name}={each.text}", each.help) for each in found
        ]
    offered = [
        Candidate(_longest(names), _sentence(option))
        for option in options
        if not getattr(option, "hidden", False)
        and (option.opts[0] not in asked.options or getattr(option, "multiple", False))
        for names in (option.opts, option.secondary_opts)
        if names
    ]
    return _starting([*offered, HELP], asked.current)


def _given_by(command: Any, how: str) -> list[Any]:
    return [parameter for parameter in command.params if parameter.param_type_name == how]


def _takes_value(option: Any) -> bool:
    return not getattr(option, "is_flag", False) and not getattr(option, "count", False)


def _longest(names: Sequence[str]) -> str:
    return max(names, key=len)


def _kind(option: Any) -> str:
    """Return what an option takes: by its own name, where that says more than its placeholder."""
    name = _longest(option.opts)
    return name if name in SOURCES else str(option.metavar or "")


def _placeholders(command: Any) -> Iterator[str]:
    """Yield what stands for each word of the arguments, in order; for ever, where there may be any
    number of the last."""
    kinds: list[str] = []
    for argument in _given_by(command, "argument"):
        kinds = re.sub(r"[][…]", "", str(argument.metavar or argument.name.upper())).split()
        yield from kinds
        if argument.nargs == -1:
            yield from repeat(kinds[-1])


def _sentence(described: Any) -> str:
    """Return the first sentence of the help of a command or option, without markup."""
    text = " ".join(str(getattr(described, "help", None) or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.) ", text.replace("\\[", "["), maxsplit=1)[0]


def _starting(offered: Sequence[Candidate], current: str) -> list[Candidate]:
    return [candidate for candidate in offered if candidate.text.startswith(current)]


def _unquoted(word: str) -> str:
    """Return a word as the shell would read it; shells hand it over as it was typed."""
    try:
        return " ".join(shlex.split(word))
    except ValueError:
        return word.lstrip("'\"")
