"""Logging of the commands: what a line says, that none is lost or torn, and that logging never
harms who logs."""

from __future__ import annotations

import atexit
import io
import json
import logging
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fbcli.broker import Delivery
from fbcli.engine.current import running
from fbcli.errors import TaskTimeout, UsageError
from fbcli.logs import ChannelHandler, configure, configure_channel, replay
from fbcli.logs.budget import Budget
from fbcli.logs.careful import Careful
from fbcli.logs.formats import JsonFormatter, PlainFormatter
from fbcli.task import Task

TASK_ID = "0198c0de-1234-7abc-8def-3f2ac1d2e4f5"
log = logging.getLogger("mymod")
tasks = logging.getLogger("fbcli.task")


class Plan:
    queue = "mymod.task"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Time:
    def __init__(self, now: float = 1000.0) -> None:
        self.at = now

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, shows = logging.getLogger(), warnings.showwarning
    level = root.level
    yield
    for budget in [one for one in tasks.filters if isinstance(one, Budget)]:
        tasks.removeFilter(budget)
        atexit.unregister(budget.flush)
        budget.flush()
    for handler in [handler for handler in root.handlers if isinstance(handler, Careful)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    warnings.showwarning = shows


@pytest.fixture
def in_task() -> Iterator[None]:
    token = running.set(Task(Delivery(b"", 0), TASK_ID, {}, {}, Plan))
    yield
    running.reset(token)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def configure_alone(stream: io.StringIO) -> None:
    """Configure, and take away the handlers of pytest, which take ill what ours take well."""
    configure(stream=stream)
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if isinstance(handler, Careful)]


def objects(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


# what a line says


def test_a_plain_line(stream: io.StringIO) -> None:
    configure(stream=stream)
    log.info("hello %s", "world")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO mymod: hello world \(test_logs\.py:\d+\)\n",
        stream.getvalue(),
    )


@pytest.mark.usefixtures("in_task")
def test_what_a_task_logs_by_its_own_logger_carries_its_id_and_queue(stream: io.StringIO) -> None:
    configure(stream=stream)
    log.info("hello")
    assert f" INFO mymod.task {TASK_ID}: hello (" in stream.getvalue()


@pytest.mark.usefixtures("in_task")
def test_a_record_that_names_a_task_keeps_it(stream: io.StringIO) -> None:
    configure(stream=stream)
    log.info("hello", extra={"task_id": "another"})
    assert " INFO mymod another: hello (" in stream.getvalue()


def test_only_a_record_begins_at_the_margin(stream: io.StringIO) -> None:
    configure(stream=stream)
    log.info(
        "one\n2026-11-21 03:12:00.123 INFO forged: two\r\nthree\x1b]0;title\x07\x85",
        extra={"task_id": "a\nb"},
    )
    try:
        raise ValueError("odd")
    except ValueError:
        log.exception("failed")
    lines = stream.getvalue().split("\n")
    assert [line[:4] == "    " for line in lines[:-1]] == [
        False,
        True,
        True,
        False,
        True,
        True,
        True,
        True,
    ][: len(lines) - 1]
    assert "a␊b: one (" in lines[0]
    assert lines[2] == "    three␛]0;title␇\ufffd"
    assert lines[-2] == "    ValueError: odd"


def test_colours_of_a_message_are_left_out_where_there_is_no_terminal(stream: io.StringIO) -> None:
    configure(stream=stream)
    log.info("\x1b[1;31mred\x1b[0m")
    assert ": red (" in stream.getvalue()


class Odd:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


def test_a_json_line_says_all_and_survives_odd_values(stream: io.StringIO) -> None:
    configure(stream=stream, json=True)
    circle: list[Any] = []
    circle.append(circle)
    extra = {
        "number": 5, "nested": {"a": [1, None]}, "odd": Odd(), "circle": circle, "huge": 10**40,
        "keys": {(1, 2): 3}, "surrogate": "\udc80", "nan": float("nan"), "raw": b"\xff",
        "time": "taken", "line": 3,
    }  # fmt: skip
    try:
        raise ValueError("odd \udc80")
    except ValueError:
        log.exception("hello %s \udc80", "x", extra={**extra, "task_id": TASK_ID, "queue": "q"})
    said = objects(stream)[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", said["time"])
    assert (said["level"], said["logger"], said["task_id"], said["queue"]) == (
        "ERROR",
        "mymod",
        TASK_ID,
        "q",
    )
    assert said["message"] == "hello x \\udc80"
    assert said["file"] == __file__
    assert said["exc"].startswith("Traceback")
    assert said["exc"].endswith("ValueError: odd \\udc80")
    assert (said["number"], said["nested"], said["time_"], said["line_"]) == (
        5,
        {"a": [1, None]},
        "taken",
        3,
    )
    assert said["odd"] == "<Odd that cannot be shown>"
    assert {"circle", "huge", "keys", "surrogate", "nan", "raw"} <= said.keys()


leaves = (
    st.none()
    | st.floats()
    | st.integers()
    | st.text()
    | st.binary()
    | st.characters(categories=["Cs", "Cc"])
)


@given(st.recursive(leaves, lambda of: st.dictionaries(leaves, of) | st.lists(of), max_leaves=10))
def test_no_value_keeps_a_line_from_being_written(value: Any) -> None:
    record = log.makeRecord(
        "n", logging.INFO, "f.py", 1, "%s", (value,), None, extra={"value": value}
    )
    assert json.loads(JsonFormatter().format(record))["level"] == "INFO"
    assert PlainFormatter().format(record).encode()


def test_a_log_call_whose_arguments_do_not_fit_is_not_lost(stream: io.StringIO) -> None:
    configure_alone(stream)
    log.info("%d apples", "many")
    log.info("%s", Odd())
    assert "'%d apples' % ('many',) (cannot be formatted: TypeError" in stream.getvalue()
    assert "cannot be formatted: RuntimeError: no" in stream.getvalue()


@pytest.mark.usefixtures("in_task")
def test_a_terminal_gets_colours_a_link_and_a_short_id() -> None:
    terminal = Terminal()
    console = Console(file=terminal, force_terminal=True, color_system="standard", width=120)
    configure(console=console)
    log.warning("\x1b[32mgreen\x1b[0m [bold] \x1b[2J")
    shown = terminal.getvalue()
    plain = re.sub(r"\x1b\]8;.*?\x1b\\|\x1b\[[0-9;]*m", "", shown)
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d WARNING  mymod\.task 3f2ac1d2e4f5  green \[bold\] +test_logs\.py:\d+\n",
        plain,
    ), plain
    assert f"{Path(__file__).as_uri()}#" in shown
    assert "\x1b[32m" in shown
    assert "\x1b[2J" not in shown


def test_a_terminal_is_known_by_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = Terminal()
    configure(stream=terminal)
    log.warning("hello")
    assert "\x1b[" in terminal.getvalue()
    monkeypatch.setenv("TERM", "dumb")
    configure(stream=(dumb := Terminal()))
    log.warning("hello")
    assert " WARNING mymod: hello (" in dumb.getvalue()


def test_warnings_are_logged_with_the_place_they_are_about(stream: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure(stream=stream)
        warnings.warn("old", stacklevel=1)
    assert re.search(
        r" WARNING py\.warnings: UserWarning: old \(test_logs\.py:\d+\)\n", stream.getvalue()
    )


# setting up


def test_configuring_again_replaces(stream: io.StringIO) -> None:
    configure(stream=io.StringIO())
    configure(stream=stream, level="warning")
    log.info("no")
    log.warning("once")
    assert stream.getvalue().count("once") == 1
    assert "no" not in stream.getvalue()


def test_importing_configures_nothing() -> None:
    code = (
        "import logging, warnings, sys; shows = warnings.showwarning; import fbcli.logs,"
        " fbcli.engine.consumer\nassert not logging.getLogger().handlers and not"
        " logging.getLogger('fbcli.task').filters\nassert warnings.showwarning is shows and 'rich'"
        " not in sys.modules and 'concurrent_log_handler' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(UsageError, match="Did you mean 'DEBUG'"):
        configure(level="DEBUGG")


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "x.log"):
        with pytest.raises(UsageError, match="cannot be written"):
            configure(file=path)


def test_the_file_gets_the_same_lines_and_its_folder_is_made(
    stream: io.StringIO, tmp_path: Path
) -> None:
    file = tmp_path / "logs" / "fb.log"
    configure(stream=stream, file=file)
    log.info("hello … ä")
    assert file.read_text("utf-8") == stream.getvalue()
    configure(stream=io.StringIO(), file=file, json=True)
    log.info("hello")
    assert json.loads(file.read_text("utf-8").splitlines()[1])["message"] == "hello"


WRITER = """
import sys, logging, io
from pathlib import Path
from fbcli.logs import configure
configure(stream=io.StringIO(), file=Path(sys.argv[1]), file_size=30_000, backups=90)
for number in range(1500):
    logging.getLogger("w").info("<%s %d %s>", sys.argv[2], number, "x" * (number % 90))
"""


def test_three_processes_rotate_one_file_and_no_line_is_lost_or_torn(tmp_path: Path) -> None:
    file = tmp_path / "fb.log"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(file), str(index)])
        for index in range(3)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    files = list(tmp_path.glob("fb.log*"))
    assert 10 < len(files) < 90
    lines = [line for path in files for line in path.read_text().splitlines()]
    found = [
        re.fullmatch(r"\S+ \S+ INFO w: <(\d) (\d+) x*> \(<string>:\d+\)", line) for line in lines
    ]
    assert all(found)
    said = [(match[1], int(match[2])) for match in found if match]
    assert sorted(said) == sorted(
        (str(index), number) for index in range(3) for number in range(1500)
    )


# a storm of failures


class Storm:
    """A logger with a budget, its own time, and a timer that fires when told."""

    def __init__(self) -> None:
        self.time = Time()
        self.lines: list[str] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.logger = logging.Logger("storm")
        self.logger.addFilter(
            Budget(self.logger, clock=self.time, later=lambda *timer: self.timers.append(timer))
        )
        handler = logging.Handler()
        handler.emit = lambda record: self.lines.append(record.getMessage())  # type: ignore[method-assign]
        self.logger.addHandler(handler)


def test_of_a_storm_twenty_lines_a_second_pass_and_the_rest_is_counted() -> None:
    storm = Storm()
    for number in range(4332):
        storm.logger.warning("%d", number)
    assert len(storm.lines) == 20
    assert len(storm.timers) == 1
    storm.time.at += 1
    storm.logger.warning("next")
    assert storm.lines[20:] == ["… and 4,312 more in the last second", "next"]
    storm.timers[0][1]()
    assert len(storm.lines) == 22


def test_the_count_comes_by_itself_when_the_storm_is_over() -> None:
    storm = Storm()
    storm.time.at += 0.25
    for number in range(21):
        storm.logger.warning("%d", number)
    delay, fire = storm.timers[0]
    assert delay == 0.75
    fire()
    assert storm.lines[-1] == "… and 1 more in the last second"


def test_each_level_has_its_own_budget_and_lines_about_a_whole_queue_are_free() -> None:
    storm = Storm()
    for number in range(30):
        storm.logger.info("%d", number)
    storm.logger.error("error")
    storm.logger.info("summary", extra={"queue": "q"})
    storm.logger.info("replayed summary", extra={"queue": "q", "task_id": ""})
    assert storm.lines[20:] == ["error", "summary", "replayed summary"]


def test_what_a_child_left_out_is_added_and_not_told_twice() -> None:
    storm = Storm()
    storm.logger.warning("… and 7 more in the last second", extra={"more": 7})
    storm.logger.warning("… and 5 more in the last second", extra={"more": 5})
    storm.timers[0][1]()
    assert storm.lines == ["… and 12 more in the last second"]


def test_the_budget_holds_for_the_tasks_logger_and_not_at_level_debug(stream: io.StringIO) -> None:
    configure(stream=stream, level="DEBUG")
    for _ in range(100):
        tasks.warning("failed")
    assert stream.getvalue().count("\n") == 100
    configure(stream=(quiet := io.StringIO()))
    for _ in range(100):
        tasks.warning("failed")
        log.warning("mine")
    assert quiet.getvalue().count("mine") == 100
    assert 20 <= quiet.getvalue().count("failed") <= 40  # a second may end meanwhile


# from child to parent


@pytest.mark.usefixtures("in_task")
def test_a_record_of_a_child_is_shown_by_its_parent_as_it_was(stream: io.StringIO) -> None:
    sent: list[str] = []
    configure_channel(ChannelHandler(lambda said: sent.append(json.dumps(said))))
    try:
        raise ValueError("odd")
    except ValueError:
        log.exception("failed %s", Path("x"), extra={"order": 7, "strange": Odd()})
    said = json.loads(sent[0])
    assert said["created"] > 0
    assert said["process"]
    said.update(created=1.5, process=4711)
    running.set(None)
    configure(stream=stream, json=True)
    replay(said)
    shown = objects(stream)[0]
    assert shown["time"] == "1970-01-01T00:00:01.500000Z"
    assert (shown["process"], shown["task_id"], shown["queue"]) == (4711, TASK_ID, "mymod.task")
    assert (shown["message"], shown["order"], shown["file"]) == ("failed x", 7, __file__)
    assert shown["exc"].endswith("ValueError: odd")
    assert "filed" not in shown


def test_levels_of_the_parent_hold_for_what_is_replayed(stream: io.StringIO) -> None:
    configure(stream=stream, level="WARNING")
    for level in ("INFO", "ERROR"):
        replay(
            {
                "name": "x",
                "levelno": logging.getLevelName(level),
                "levelname": level,
                "msg": f"100 % {level}",
                "lineno": 1,
            }
        )
    assert "100 % ERROR" in stream.getvalue()
    assert "100 % INFO" not in stream.getvalue()


def test_what_a_child_has_written_to_the_file_the_parent_does_not_write_again(
    stream: io.StringIO, tmp_path: Path
) -> None:
    file = tmp_path / "fb.log"
    sent: list[dict[str, Any]] = []
    configure_channel(ChannelHandler(sent.append), file=file)
    log.info("hello")
    configure(stream=stream, file=file)
    replay(sent[0])
    assert file.read_text().count("hello") == 1
    assert stream.getvalue().count("hello") == 1


# no harm


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError("No space left on device")


def test_an_error_of_logging_reaches_nobody_and_is_told_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure(stream=Broken())
    for _ in range(3):
        log.info("hello")
    assert capsys.readouterr().err.count("is lost: OSError: No space left on device") == 1


def test_a_channel_that_fails_harms_nobody() -> None:
    def send(said: dict[str, Any]) -> None:
        raise ConnectionResetError("gone")

    configure_channel(ChannelHandler(send))
    log.info("hello")


class Struck(io.StringIO):
    def write(self, text: str) -> int:
        raise TaskTimeout


def test_the_timeout_of_a_task_passes() -> None:
    configure(stream=Struck())
    with pytest.raises(TaskTimeout):
        log.info("hello")
    configure(stream=(stream := io.StringIO()))
    log.info("hello")
    assert "hello" in stream.getvalue()


class Talkative:
    def __init__(self, again: bool) -> None:
        self.again = again

    def __str__(self) -> str:
        log.info("inside %s", self if self.again else "")
        return "outside"


def test_a_value_that_logs_while_it_is_logged(stream: io.StringIO) -> None:
    configure_alone(stream)
    log.info("%s", Talkative(False))
    assert [line.split(": ")[1].split(" (")[0] for line in stream.getvalue().splitlines()] == [
        "outside",
        "inside ",
    ]
    log.info("%s", Talkative(True))
    assert stream.getvalue().count("\n") < 20


def test_logging_at_the_end_of_the_stack(stream: io.StringIO) -> None:
    configure(stream=stream)
    deepest = 0

    def deeper() -> None:
        nonlocal deepest
        deepest += 1
        log.handle(log.makeRecord("x", logging.INFO, "f.py", 1, "deep", (), None))
        deeper()

    with pytest.raises(RecursionError):
        deeper()
    log.info("and on")
    assert "and on" in stream.getvalue()
