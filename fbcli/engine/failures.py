"""What an error looks like as text, wherever it is kept or shown: dead letters, results, events,
logs, and `fb run`.

Whatever a function raises, also an error that cannot say what it is, becomes a `Failure` here, of
bounded length and in valid UTF-8. Nothing in here raises.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator, Sequence
from traceback import FrameSummary
from types import TracebackType

from fbcli.address.address import of_library
from fbcli.errors import RemoteError
from fbcli.task import Failure
from fbcli.values.encoding import in_utf8
from fbcli.values.error_text import MOST_TEXT, cut, name_of, text_of

MOST_TRACEBACK = 16_000
"""Characters. JSON needs up to six bytes for one: they and `MOST_TEXT` together stay far below what
a dead letter may be larger than its message (`message.ROOM_FOR_EXTRA`)."""
MOST_TEXT_BELOW = 1_000
"""Characters of what an error says below its traceback: in full it need not stand twice."""
MOST_LINE = 500
"""Characters of a line of code."""

MOST_FRAMES = 12
"""Calls shown of one error."""
FEWER_FRAMES = (4, 1)
"""The same when all together would be too long."""
MOST_INNERMOST = 3
"""Of the calls shown, so many are the last ones, whoever's code they are in."""
MOST_READ = 50
"""Calls looked at in full."""
MOST_LINKS = 1_000
"""How far a chain of causes is followed."""
MOST_CAUSES = 6
"""Errors shown of one chain of causes, the last one included."""
MOST_MEMBERS = 10
"""Errors shown of one group."""
MOST_ERRORS = 40
"""Errors shown in all."""
MOST_NOTES = 10

_CAUSE = "The above exception was the direct cause of the following exception:"
_CONTEXT = "During handling of the above exception, another exception occurred:"

_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_STANDARD = os.path.dirname(os.__file__) + os.sep
_RUNNERS = (f"{_STANDARD}asyncio{os.sep}", f"{_STANDARD}concurrent{os.sep}")
"""Where the standard library calls functions for somebody else."""


def describe(error: BaseException, text: str | None = None) -> Failure:
    """Return an error as text: with its traceback, its causes, notes, and the members of a group.

    `text`: what it says, where that is known better. Of calls those of fbcli are left out; where
    there are too many, the user's own go first.
    """
    try:
        remote = error if isinstance(error, RemoteError) else error.__cause__
        if isinstance(remote, RemoteError) and remote.traceback:  # it was raised in a child process
            return Failure(remote.error_type, text_of(remote), remote.traceback)
    except BaseException:  # noqa: BLE001  an attribute of somebody's own class: told as it is
        remote = None
    name, said = name_of(error), text_of(error) if text is None else cut(in_utf8(text), MOST_TEXT)
    try:
        trace = _traceback(error, said)
    except BaseException as raised:  # noqa: BLE001  code of the error's own class has run
        trace = f"{_headline(name, said)}\n(its traceback could not be made: {name_of(raised)})"
    return Failure(name, said, trace)


def _headline(name: str, text: str) -> str:
    return f"{name}: {cut(text, MOST_TEXT_BELOW)}" if text else name


def _traceback(error: BaseException, text: str) -> str:
    """Return the traceback of an error that says `text`, with all that belongs to it."""
    trace = ""
    for most_frames in (MOST_FRAMES, *FEWER_FRAMES):
        trace = in_utf8("\n".join(_Formatter(most_frames).chain(error, text)))
        if len(trace) <= MOST_TRACEBACK:
            return trace
    kept = MOST_TRACEBACK - 50
    return f"({len(trace) - kept:,} characters left out) …\n{trace[-kept:]}"


class _Formatter:
    """Formats an error, those behind it and in it, each once and so many in all."""

    def __init__(self, most_frames: int) -> None:
        self._most_frames = most_frames
        self._seen: set[int] = set()
        self._left = MOST_ERRORS

    def chain(self, error: BaseException, text: str | None = None) -> Iterator[str]:
        """Yield the lines of an error that says `text`, below those of what caused it."""
        links = self._links(error)
        others = len(links) - MOST_CAUSES
        if others > 0:  # the root and the last ones tell most
            links[1 : others + 1] = []
        for cause, relation in links:
            yield from self._one(cause, text if cause is error else None)
            if relation:
                yield from ("", relation, "")
            if others > 0:
                yield from (f"… {others:,} more causes …", "")
                others = 0

    def _links(self, error: BaseException) -> list[tuple[BaseException, str]]:
        """Return an error and what is behind it, the root first; each with what the next one has to
        do with it."""
        links = [(error, "")]
        while len(links) < MOST_LINKS:
            self._seen.add(id(error))
            behind, relation = error.__cause__, _CAUSE
            if behind is None and not error.__suppress_context__:
                behind, relation = error.__context__, _CONTEXT
            if behind is None or id(behind) in self._seen:
                break
            error = behind
            links.append((error, relation))
        return links[::-1]

    def _one(self, error: BaseException, text: str | None) -> Iterator[str]:
        """Yield the lines of an error alone."""
        self._left -= 1
        if error.__traceback__ is not None:
            yield "Traceback (most recent call last):"
            yield from _frames(error.__traceback__, self._most_frames)
        yield _headline(name_of(error), text_of(error) if text is None else text)
        notes = getattr(error, "__notes__", None)
        if isinstance(notes, list | tuple):
            for note in notes[:MOST_NOTES]:
                yield from cut(text_of(note), MOST_TEXT_BELOW).splitlines()
        members = getattr(error, "exceptions", None)  # of an ExceptionGroup, or what is like it
        if isinstance(members, list | tuple):
            yield from self._members(members)

    def _members(self, members: Sequence[object]) -> Iterator[str]:
        shown = 0
        for member in members[:MOST_MEMBERS]:
            if not isinstance(member, BaseException) or self._left <= 0:
                break
            if id(member) not in self._seen:
                yield f"  +---------------- {shown + 1} of {len(members):,} ----------------"
                yield from (f"  | {line}".rstrip() for line in self.chain(member))
            shown += 1
        if shown < len(members):
            yield f"  +---------------- {len(members) - shown:,} more ----------------"


def _frames(begin: TracebackType, most: int) -> Iterator[str]:
    """Yield the lines of calls."""
    every = [begin]
    while (following := every[-1].tb_next) is not None:
        every.append(following)
    files = [call.tb_frame.f_code.co_filename for call in every]
    calls = _without_own(files)
    shown = [calls[index] for index in _chosen([files[call] for call in calls], most)]
    before = calls[0] - 1
    for call, summary in zip(shown, _summaries(every, shown), strict=True):
        if left_out := sum(before < other < call for other in calls):
            yield f"  … {left_out:,} more calls …"
        before = call
        for text in traceback.format_list([summary]):
            yield from (cut(line, MOST_LINE) for line in text.splitlines())


def _without_own(files: Sequence[str]) -> Sequence[int]:
    """Return the places of the calls that are not of fbcli, without those by which an event loop or
    a thread has come to the first one; or of all, where there are no others."""
    calls = [place for place, file in enumerate(files) if not file.startswith(_OWN)]
    for index, place in enumerate(calls):
        if not files[place].startswith(_RUNNERS):
            return calls[index:]
    return calls or range(len(files))


def _summaries(every: Sequence[TracebackType], shown: Sequence[int]) -> list[FrameSummary]:
    """Return what Python knows of the calls to be shown."""
    if len(every) <= MOST_READ:  # all at once is faster: each look asks the system for the files
        found = traceback.extract_tb(every[0], limit=len(every))
        return [found[place] for place in shown]
    return [traceback.extract_tb(every[place], limit=1)[0] for place in shown]


def _chosen(files: Sequence[str], most: int) -> list[int]:
    """Return which calls are shown when there are more than so many: where it began, where it
    ended, and of those between the user's own rather than a library's."""
    count = len(files)
    if count <= most:
        return list(range(count))
    own = [index for index in range(count) if not of_library(files[index])]
    chosen = {*range(count - min(most, MOST_INNERMOST), count)}
    for index in (*own[:1], *reversed(own), *reversed(range(count))):
        if len(chosen) >= most:
            break
        chosen.add(index)
    return sorted(chosen)
