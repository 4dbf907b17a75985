"""What an error looks like in dead letters, results, events and on a terminal."""

from __future__ import annotations

import asyncio
import builtins
import os
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fbcli.engine import failures
from fbcli.engine.failures import (
    MOST_CAUSES,
    MOST_FRAMES,
    MOST_MEMBERS,
    MOST_TRACEBACK,
    describe,
)
from fbcli.task import Failure
from fbcli.values.error_text import MOST_TEXT

ROOM = Path(failures.__file__).parent.parent
"""The folder of fbcli."""

Group: Any = getattr(builtins, "ExceptionGroup", None)
groups = pytest.mark.skipif(Group is None, reason="exception groups came with 3.11")


def function_of(path: Path, source: str) -> Callable[..., Any]:
    """Return the function `task` of a module as it would come from that file."""
    module = types.ModuleType(path.stem)
    exec(compile(source, str(path), "exec"), module.__dict__)
    task: Callable[..., Any] = module.task  # type: ignore[attr-defined]
    return task


def raised(call: Callable[..., Any], *args: Any) -> BaseException:
    try:
        call(*args)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def inner_of(error: BaseException) -> BaseException:
    """Return an error without the outermost call of its traceback."""
    assert error.__traceback__ is not None
    return error.with_traceback(error.__traceback__.tb_next)


def described(call: Callable[..., Any], *args: Any) -> Failure:
    return describe(raised(call, *args))


def test_type_text_and_traceback() -> None:
    failure = described(int, "x")
    assert failure.error_type == "ValueError"
    assert failure.error == "invalid literal for int() with base 10: 'x'"
    first, place, *_, last = failure.traceback.splitlines()
    assert first == "Traceback (most recent call last):"
    assert place.startswith(f'  File "{__file__}", line ')
    assert last == "ValueError: invalid literal for int() with base 10: 'x'"


@pytest.mark.parametrize(
    "path",
    [
        ROOM.parent / "fbcli_jobs.py",
        ROOM.parent / "fbclient" / "jobs.py",
        ROOM.with_suffix(".py"),
        Path("/srv/jobs.py"),
    ],
    ids=["beside", "beside in a folder", "of the same name", "elsewhere"],
)
def test_a_users_file_whose_name_begins_like_fbclis_folder_keeps_its_frames(path: Path) -> None:
    task = function_of(path, "def task():\n    raise ValueError('bad')\n")
    assert f'  File "{path}", line 2, in task' in described(task).traceback


def test_frames_of_fbcli_are_left_out() -> None:
    inner = function_of(Path("/srv/inner.py"), "def task(): raise ValueError('bad')\n")
    engine = function_of(ROOM / "engine" / "made_up.py", "def task(call): call()\n")
    outer = function_of(Path("/srv/outer.py"), "def task(engine, call): engine(call)\n")
    trace = described(outer, engine, inner).traceback
    assert "made_up.py" not in trace
    assert trace.index("outer.py") < trace.index("inner.py")


def test_where_all_frames_are_fbclis_they_are_kept() -> None:
    own = function_of(ROOM / "chaos" / "made_up.py", "def task(): raise ValueError('bad')\n")
    assert "made_up.py" in describe(inner_of(raised(own))).traceback


def test_the_event_loop_that_ran_it_is_left_out() -> None:
    task = function_of(Path("/srv/jobs.py"), "async def task():\n    raise ValueError('bad')\n")
    error = inner_of(inner_of(raised(lambda: asyncio.run(task()))))
    assert error.__traceback__ is not None
    assert "asyncio" in error.__traceback__.tb_frame.f_code.co_filename
    lines = describe(error).traceback.splitlines()
    assert lines[1].startswith('  File "/srv/jobs.py"'), lines


# what errors do themselves


class Mute(Exception):
    def __str__(self) -> str:
        raise KeyError("no words")

    __repr__ = __str__


class Exiting(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class NotText(Exception):
    def __str__(self) -> Any:
        return 5


class Closing(Exception):
    def __str__(self) -> str:
        raise GeneratorExit


class Endless(Exception):
    def __str__(self) -> str:
        return str(self)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Mute, "KeyError"),
        (Exiting, "SystemExit"),
        (NotText, "TypeError"),
        (Closing, "GeneratorExit"),
        (Endless, "RecursionError"),
    ],
)
def test_an_error_that_cannot_say_what_it_is_is_told_all_the_same(
    kind: type[Exception], why: str
) -> None:
    def task() -> None:
        raise kind

    failure = described(task)
    assert failure.error_type == kind.__name__
    assert failure.error == f"its text could not be made: {why}"
    assert "raise kind" in failure.traceback
    assert failure.traceback.endswith(f"{kind.__name__}: {failure.error}")


class Odd(Exception):
    """What Python keeps about errors can be anything in a class of somebody's own."""

    __notes__ = 5
    exceptions = "none"

    @property
    def __cause__(self) -> Any:  # type: ignore[override]
        raise ValueError("who knows")

    @property
    def __traceback__(self) -> Any:  # type: ignore[override]
        raise ValueError("who knows")


def test_odd_attributes_do_not_hide_the_error() -> None:
    def task() -> None:
        raise Odd("here")

    failure = described(task)
    assert (failure.error_type, failure.error) == ("Odd", "here")
    assert "Odd: here" in failure.traceback


def test_a_text_is_valid_utf8_whatever_it_holds() -> None:
    def task() -> None:
        raise ValueError(f"bad \ud800 name {os.fsdecode(bytes([255]))}")

    failure = described(task)
    assert failure.error == "bad \\ud800 name \\udcff"
    assert msgspec.json.decode(msgspec.json.encode(failure), type=Failure) == failure


def test_no_text_is_no_colon() -> None:
    def task() -> None:
        raise ValueError

    failure = described(task)
    assert failure.error == ""
    assert failure.traceback.endswith("\nValueError")


def test_an_error_that_was_never_raised_has_no_frames() -> None:
    assert describe(ValueError("bad")).traceback == "ValueError: bad"


# bounds


def test_a_long_text_is_cut_and_says_so() -> None:
    failure = describe(ValueError("x" * 2_300_000))
    assert failure.error.startswith("xxx")
    assert len(failure.error) <= MOST_TEXT
    assert failure.error.endswith(" more characters)")
    assert len(failure.traceback) < MOST_TEXT, "it stands in full in one place only"


def test_a_deep_traceback_keeps_where_it_began_and_where_it_ended() -> None:
    def task(depth: int) -> None:
        if depth:
            task(depth - 1)
        else:
            raise ValueError("at the bottom")

    trace = described(task, 900).traceback
    assert trace.count("  File ") <= MOST_FRAMES + 1
    assert "in raised" in trace.splitlines()[1], "the first that is the user's"
    assert "more calls" in trace
    assert trace.splitlines()[-2].strip() == 'raise ValueError("at the bottom")'


def test_a_library_does_not_crowd_out_the_code_that_called_it() -> None:
    library = function_of(
        Path("/venv/lib/site-packages/deep.py"),
        "def task(depth):\n    if depth: task(depth - 1)\n    else: raise ValueError('deep')\n",
    )
    mine = function_of(Path("/srv/mine.py"), "def task(call):\n    call(50)\n")
    trace = described(mine, library).traceback
    assert '"/srv/mine.py", line 2' in trace
    assert "deep.py" in trace.splitlines()[-2]
    assert trace.count("  File ") <= MOST_FRAMES + 1


def test_everything_together_is_bounded() -> None:
    def task() -> None:
        error: Exception = ValueError("y" * 100_000)
        for number in range(200):
            after = ValueError(f"{number}" + "\x01" * 100_000)
            after.__cause__ = error
            error = after
        raise error

    failure = described(task)
    assert len(failure.traceback) <= MOST_TRACEBACK
    assert len(msgspec.json.encode(failure)) < 200_000


# causes, notes, members


def test_the_cause_comes_first() -> None:
    def task() -> None:
        try:
            int("x")
        except ValueError as error:
            raise RuntimeError("outer") from error

    trace = described(task).traceback
    first, second = trace.split(
        "\n\nThe above exception was the direct cause of the following exception:\n\n"
    )
    assert first.endswith("ValueError: invalid literal for int() with base 10: 'x'")
    assert 'int("x")' in first
    assert second.endswith("RuntimeError: outer")


def test_what_was_being_handled_is_told_unless_it_was_taken_away() -> None:
    def task(hide: bool) -> None:
        try:
            int("x")
        except ValueError:
            if hide:
                raise RuntimeError("outer") from None
            raise RuntimeError("outer")  # noqa: B904

    handled = "\n\nDuring handling of the above exception, another exception occurred:\n\n"
    assert handled in described(task, False).traceback
    assert "invalid literal" not in described(task, True).traceback


def test_a_long_chain_keeps_its_end_and_its_root() -> None:
    def task() -> None:
        error: Exception = ValueError("the root")
        for number in range(50):
            after = ValueError(f"after {number}")
            after.__cause__ = error
            error = after
        raise error

    trace = described(task).traceback
    assert trace.startswith("ValueError: the root\n")
    assert trace.endswith("ValueError: after 49")
    assert trace.count("ValueError: ") == MOST_CAUSES
    assert f"{51 - MOST_CAUSES} more causes" in trace


def test_a_circle_of_causes_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert describe(one).traceback.count("ValueError: ") == 2


def test_notes_follow_their_error() -> None:
    error = ValueError("bad")
    error.__notes__ = ["row 5\nof x.csv", Mute()]  # type: ignore[attr-defined]
    assert describe(error).traceback.endswith(
        "ValueError: bad\nrow 5\nof x.csv\nits text could not be made: KeyError"
    )


@groups
def test_members_of_a_group_are_told() -> None:
    def task() -> None:
        members = [raised(int, "a"), raised(int, "b"), TypeError("three")]
        members[0].__cause__ = OSError("behind")
        raise Group("several", members)

    failure = described(task)
    assert failure.error == "several (3 sub-exceptions)"
    trace = failure.traceback
    for part in ("base 10: 'a'", "base 10: 'b'", "TypeError: three", "OSError: behind"):
        assert part in trace
    assert trace.index("several") < trace.index("'a'") < trace.index("'b'") < trace.index("three")


@groups
def test_a_large_group_and_a_deep_one_are_bounded() -> None:
    wide = Group("wide", [ValueError(str(number)) for number in range(1000)])
    trace = describe(wide).traceback
    assert trace.count("ValueError: ") == MOST_MEMBERS
    assert f"{1000 - MOST_MEMBERS} more" in trace
    deep: Exception = ValueError("bottom")
    for _ in range(100):
        deep = Group("deep", [deep])
    assert len(describe(deep).traceback) <= MOST_TRACEBACK
