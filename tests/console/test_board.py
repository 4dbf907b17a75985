"""The board and its views, with clocks of their own, and a terminal that is drawn on for real, in
memory."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import ConsoleDimensions
from rich.text import Text

from fbcli.broker import Size
from fbcli.console.board import Board, Row
from fbcli.console.footer import FooterConsole, above
from fbcli.console.live import HINT, LiveView
from fbcli.console.views import JsonView, LineView, View, duration, rate
from fbcli.engine.tally import Snapshot
from fbcli.logs.terminal import TerminalHandler
from fbcli.stores.base import Counts


class Time:
    at = 500.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def board(time: Time) -> Board:
    return Board(time)


def said(done: int = 0, queue: str = "mymod.task", **more: Any) -> Snapshot:
    counts = Counts(
        succeeded=done,
        **{name: more.pop(name) for name in Counts.__struct_fields__ if name in more},
    )
    return Snapshot(queue, queue.replace(".", ":"), counts, **{"concurrency": 16, **more})


def only(board: Board) -> Row:
    (row,) = board.rows()
    return row


# the board


def test_snapshots_of_processes_are_one_row(board: Board) -> None:
    board.update(
        {
            "1": [said(10, failed=1, in_flight=5, running=4, seconds=[0.1] * 19)],
            "2": [said(20, retried=3, in_flight=6, running=6, seconds=[0.3]), said(queue="other")],
        },
        {"mymod.task": Size(90, 11, 7), "other": None},
    )
    row, other = board.rows()
    assert (row.queue, row.address, row.processes) == ("mymod.task", "mymod:task", 2)
    assert (row.done, row.succeeded, row.failed, row.retried) == (31, 30, 1, 3)
    assert (row.in_flight, row.running, row.concurrency) == (11, 10, 32)
    assert (row.backlog, row.delayed) == (90, 7)
    assert (row.mean_ms, row.p95_ms) == (110.0, 100.0)
    assert (other.backlog, other.mean_ms, other.processes) == (None, None, 1)
    total = board.totals()
    assert (total.queue, total.done, total.backlog, total.processes, total.concurrency) == (
        "",
        31,
        90,
        2,
        48,
    )


def test_rates_are_over_their_windows_or_over_what_there_is(board: Board, time: Time) -> None:
    board.update({"1": [said(0)]})
    assert only(board).rate_1s is None
    for tick in range(1, 401):
        time.at = 500 + tick * 0.25
        done = tick * 10 if tick <= 200 else 2000 + (tick - 200) * 25
        board.update({"1": [said(done)]})
        if tick == 2:
            assert (only(board).rate_1s, only(board).rate_60s) == (40.0, 40.0)
        if tick == 208:
            assert (only(board).rate_1s, only(board).rate_10s) == (100.0, 52.0)
    row = only(board)
    assert (row.rate_1s, row.rate_10s) == (100.0, 100.0)
    assert row.rate_60s == pytest.approx((10 * 40 + 50 * 100) / 60, abs=0.01)
    assert row.rate == 70.0


def test_the_time_to_empty(board: Board, time: Time) -> None:
    board.update({"1": [said(0)]}, {"mymod.task": Size(100)})
    assert only(board).empty_in is None
    time.at += 10
    board.update({"1": [said(200)]}, {"mymod.task": Size(90)})
    assert only(board).empty_in == 4.5
    board.update({"1": [said(200)]}, {"mymod.task": Size(0)})
    assert only(board).empty_in == 0.0
    board.update({"1": [said(200)]}, {"mymod.task": None})
    assert only(board).empty_in is None
    time.at += 60
    board.update({"1": [said(200)]}, {"mymod.task": Size(90)})
    assert (only(board).rate_60s, only(board).empty_in) == (0.0, None)


def test_a_worker_that_begins_anew_adds_to_the_totals(board: Board) -> None:
    for done in (100, 3, 5, 0, 1):
        board.update({"1": [said(done)], "2": [said(10)]})
    assert only(board).done == 100 + 5 + 1 + 10


def test_a_worker_that_is_gone_keeps_its_part(board: Board) -> None:
    board.update({"1": [said(100, running=1)], "2": [said(10, running=1)]})
    board.update({"2": [said(11, running=1)]})
    assert (only(board).done, only(board).running, only(board).processes) == (111, 1, 1)


def test_a_worker_that_is_renamed_counts_once(board: Board) -> None:
    board.update({"71": [said(100)], "72": [said(10)]})
    board.update({"71.1": [said(101, state="stopped")], "72": [said(10)]})
    board.update({"71.1": [said(101, state="stopped")], "71": [said(2)], "72": [said(10)]})
    assert (only(board).done, only(board).processes, only(board).concurrency) == (113, 2, 32)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["1", "2", "2.1", "3"]), st.integers(0, 50)), max_size=30
    )
)
def test_totals_never_go_down(updates: list[dict[str, int]]) -> None:
    board, before = Board(Time()), 0
    for update in updates:
        board.update({worker: [said(done)] for worker, done in update.items()})
        assert board.totals().done >= before
        before = board.totals().done


@pytest.mark.parametrize(
    ("snapshots", "state"),
    [
        ([said(state="new")], "starting"),
        ([said(state="new"), said()], "running"),
        ([said(), said(state="paused")], "paused"),
        ([said(state="tripped"), said(state="draining")], "draining"),
        ([said(state="stopped"), said()], "running"),
        ([said(state="stopped")], "stopped"),
        ([said(), said(trouble="no broker")], "trouble"),
    ],
)
def test_the_state_of_several_processes(
    board: Board, snapshots: list[Snapshot], state: str
) -> None:
    board.update({str(index): [snapshot] for index, snapshot in enumerate(snapshots)})
    assert only(board).state == state


def test_the_summary(board: Board, time: Time) -> None:
    board.update({"1": [said(0), said(0, "other")]})
    time.at += 10
    last = {
        "1": [
            said(80, failed=20, retried=5, state="stopped", unfinished=2, seconds=[0.5]),
            said(7, "other", state="stopped"),
        ]
    }
    board.update(last)
    summary = board.summary()
    assert summary.elapsed == 10
    assert [
        (row.done, row.failed, row.rate, row.unfinished, row.mean_ms) for row in summary.rows
    ] == [
        (100, 20, 10.0, 2, 500.0),
        (7, 0, 0.7, 0, None),
    ]
    assert (summary.total.done, summary.total.rate) == (107, 10.7)
    assert json.loads(msgspec.json.encode(summary))["rows"][0]["queue"] == "mymod.task"


# figures


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "—"), (0, "0 s"), (4.2e-5, "42 µs"), (0.00042, "0.42 ms"), (0.0042, "4.2 ms"),
     (0.9996, "1 s"), (1.26, "1.3 s"), (59.7, "1 min"), (125, "2 min 5 s"), (7500, "2 h 5 min"),
     (86399.9, "1 d"), (273600, "3 d 4 h")],
)  # fmt: skip
def test_durations(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


@given(st.floats(0, 1e9))
def test_a_duration_is_short_and_never_in_exponents(seconds: float) -> None:
    assert re.fullmatch(r"[\d,]+(\.\d+)? (µs|ms|s|min|h|d)( \d+ (s|min|h))?", duration(seconds))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "—"),
        (0, "0"),
        (0.02, "0.02"),
        (0.5, "0.5"),
        (5.0, "5"),
        (98.76, "98.8"),
        (1234.5, "1,234"),
    ],
)
def test_rates(value: float | None, shown: str) -> None:
    assert rate(value) == shown


# views without a terminal


def test_lines_come_every_ten_seconds_when_something_has_changed(
    board: Board, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fbcli.stats")
    with LineView() as view:
        for tick in range(160):
            time.at = 500 + tick * 0.25
            done = min(tick, 80) * 250
            now = said(done, failed=3, in_flight=40 if tick < 80 else 0)
            board.update({"1": [now]}, {"mymod.task": Size(max(0, 20_000 - done))})
            view.refresh(board)
        view.final(board)
    assert caplog.messages == [
        "mymod.task: 10,003 done (1,000/s), 3 failed, 40 in flight, backlog 10,000, empty in 10 s",
        "mymod.task: 20,003 done (1,000/s), 3 failed, 0 in flight, backlog 0",
        "mymod.task: 20,003 done (0/s), 3 failed, 0 in flight, backlog 0",
        "mymod.task: 20,003 done in 40 s (503/s), 3 failed",
    ]
    assert caplog.records[0].__dict__["stats"]["done"] == 10_003


def test_objects_come_every_second(board: Board, time: Time) -> None:
    written: list[dict[str, Any]] = []
    with JsonView(written.append) as view:
        for tick in range(9):
            time.at = 500 + tick * 0.25
            board.update({"1": [said(tick, trouble="no broker" if tick == 8 else "")]})
            view.refresh(board)
        view.final(board)
    assert [line["event"] for line in written] == ["stats"] * 3 + ["summary"]
    assert (written[2]["queue"], written[2]["done"], written[2]["state"]) == (
        "mymod.task",
        8,
        "trouble",
    )
    assert written[3]["total"]["done"] == 8
    assert json.dumps(written)


# the terminal


class Screen(io.StringIO):
    """Obeys what is written to it, as far as we use it, and so knows what a person would see."""

    _CONTROLS = re.compile(
        r"\x1b\]8;[^\x1b]*\x1b\\|\x1b\[(\??[\d;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)"
    )

    def __init__(self) -> None:
        super().__init__()
        self.rows = [""]
        self.at = 0
        self.cursor = "h"

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        column = len(self.rows[self.at])
        for number, command, control, plain in self._CONTROLS.findall(text):
            if control == "\r":
                column = 0
            elif control == "\n":
                column, self.at = 0, self.at + 1
                if self.at == len(self.rows):
                    self.rows.append("")
            elif command == "A":
                self.at -= int(number)
            elif command == "K":
                self.rows[self.at] = ""
            elif command in ("h", "l"):
                self.cursor = command
            elif plain:
                row = self.rows[self.at].ljust(column)
                self.rows[self.at] = row[:column] + plain + row[column + len(plain) :]
                column += len(plain)
        return len(text)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return Screen()


def view_on(screen: Screen, width: int = 120, height: int = 40, **more: Any) -> LiveView:
    view = LiveView("mymod:task", "redis://me:secret@host/0", stream=screen, **more)
    view.console.size = ConsoleDimensions(width, height)
    return view


def test_the_table_shows_how_it_stands(screen: Screen, board: Board, time: Time) -> None:
    board.update({"1": [said(0)]})
    time.at += 5
    board.update(
        {"1": [said(12345, failed=2, in_flight=40, running=16, seconds=[0.00042])]},
        {"mymod.task": Size(9000)},
    )
    with view_on(screen) as view:
        view.refresh(board)
        heading, _, names, _, row, hint = screen.rows[1:]
        assert re.fullmatch(r"mymod:task · 5 s · pid \d+ · redis://me:\*\*\*@host/0", heading)
        assert names.split("  ")[0] == "queue"
        assert (
            re.sub(" {2,}", "|", row)
            == "mymod.task|running|12,347|2|0|2,469|2,469|2,469|0.42 ms|0.42 ms|16/16|9,000|3.6 s"
        )
        assert hint == HINT
        assert screen.cursor == "l"
    assert screen.cursor == "h"
    assert not any(screen.rows)


def everything(board: Board, time: Time) -> None:
    """Fill a board with long names, large numbers and troubles."""
    trouble = (
        "Cannot reach redis://127.0.0.1:6379/0: Connection refused, and more than there is room"
        " for." * 2
    )
    for _ in range(2):
        time.at += 5
        now = {
            "1": [
                said(
                    10**9,
                    "reports.nightly.build_everything_for_all_customers",
                    trouble=trouble,
                    seconds=[7500.0],
                    dropped=3,
                ),
                said(
                    10**6,
                    "队列.任务",
                    failed=12345,
                    retried=99999,
                    state="closed",
                    note="its hours begin 2024-02-03 22:00:00",
                ),
                said(int(time.at) * 1000, "a\x1b[2Jb", in_flight=500, seconds=[0.1]),
            ]
        }
        board.update(now, {"a\x1b[2Jb": Size(10**7, 500, 17)})


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 160, 250])
def test_no_line_is_wider_than_the_terminal(
    screen: Screen, board: Board, time: Time, width: int
) -> None:
    everything(board, time)
    view = view_on(screen, width)
    lines = view.lines(board.rows(), board.totals(), 7500)
    assert max(line.cell_len for line in lines) <= width
    assert not re.search(r"[\x00-\x1f]", "".join(line.plain for line in lines))
    table = [line.plain for line in lines if "done" in line.plain]
    assert ("p95" in table[0]) == (width >= 160)
    assert ("backlog" in table[0]) == (width >= 60)
    if width >= 80:
        assert (
            len(
                {
                    cell_len(line.plain)
                    for line in lines
                    if re.search(r"10,000,000|1,000,000,003", line.plain)
                }
            )
            == 1
        )


def test_what_does_not_fit_into_the_height_is_counted(screen: Screen, board: Board) -> None:
    board.update({"1": [said(index, f"q{index}") for index in range(50)]})
    lines = view_on(screen, height=24).lines(board.rows(), board.totals(), 1)
    assert len(lines) <= 24
    assert any(line.plain == "… and 34 more queues, in the total" for line in lines)


def test_before_anyone_has_reported(screen: Screen, board: Board) -> None:
    with view_on(screen) as view:
        view.refresh(board)
        assert screen.rows[2:] == ["starting", HINT]
        view.final(board)
    with LineView() as lines:
        lines.final(board)


def test_processes_that_are_missing_show(screen: Screen, board: Board) -> None:
    view = view_on(screen, processes=4)
    board.update({"1": [said()], "2": [said()], "3.1": [said(state="stopped")]})
    assert " · 2 of 4 processes · " in view.lines(board.rows(), board.totals(), 1)[1].plain


def test_an_idle_table_is_not_drawn_again(
    screen: Screen, board: Board, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[object] = []
    with view_on(screen) as view:
        monkeypatch.setattr(view.console, "set_footer", drawn.append)
        for _ in range(41):
            board.update({"1": [said(5)]})
            view.refresh(board)
            time.at += 0.1
        assert (
            5 <= len(drawn) <= 7
        )  # once a second, for the elapsed time, and when the first rates were known


def test_the_end_leaves_a_summary(screen: Screen, board: Board, time: Time) -> None:
    with view_on(screen) as view:
        board.update({"1": [said(0, "a"), said(0, "b")]})
        view.refresh(board)
        time.at += 125
        board.update(
            {
                "1": [
                    said(1250, "a", failed=1, state="stopped", unfinished=3),
                    said(5, "b", state="stopped"),
                ]
            }
        )
        view.refresh(board)
        view.final(board)
    shown = "\n".join(row.rstrip() for row in screen.rows)
    assert "Ended after 2 min 5 s." in shown
    assert re.search(r"^a +1,251 +1 +0 +3 +10 +— +—$", shown, re.MULTILINE)
    assert re.search(r"^all +1,256 +1 +0 +3 +10 +— +—$", shown, re.MULTILINE)
    assert HINT not in shown


def test_all_views_are_views(screen: Screen) -> None:
    views: list[View] = [LineView(), JsonView(print), view_on(screen)]
    assert len(views) == 3


def both(*calls: Callable[[], None]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_what_threads_print_is_whole_and_above_a_footer_that_changes(screen: Screen) -> None:
    console = FooterConsole(screen)
    console.size = ConsoleDimensions(80, 24)
    out = above(screen, console)

    def chat(name: str) -> None:
        for number in range(100):
            print(name, number, "\x1b[31mred\x1b[0m", file=out)

    def draw() -> None:
        for number in range(100):
            console.set_footer([Text(f"footer {line}") for line in range(1 + number % 4)])

    both(*(lambda name=name: chat(name) for name in "abc"), draw)
    *printed, first, second, third, fourth = screen.rows
    assert [first, second, third, fourth] == [f"footer {line}" for line in range(4)]
    assert sorted(printed) == sorted(
        f"{name} {number} red" for name in "abc" for number in range(100)
    )
    console.set_footer([])
    out.release()
    print("after", file=out)
    assert [row for row in screen.rows if row][-1] == "after"


def test_standard_streams_and_handlers_that_hold_them_print_above(
    screen: Screen, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", other)
    handler = logging.StreamHandler()
    monkeypatch.setattr((logger := logging.getLogger("user")), "handlers", [handler])
    board.update({"1": [said()]})
    with view_on(screen) as view:
        view.refresh(board)
        logger.warning("by a handler")
        print("by a print", file=(kept := sys.stderr))
        print("half", end="", file=kept)
        print("\r10 %\r20 %", end="", file=kept)
        print("data")
        assert screen.rows[:2] == ["by a handler", "by a print"]
        assert screen.rows[-1] == HINT
    assert screen.rows[2] == "20 %"
    assert other.getvalue() == "data\n"
    assert handler.stream is screen
    assert sys.stderr is screen


def test_a_terminal_that_gets_narrower_is_cleaned_up(screen: Screen) -> None:
    console = FooterConsole(screen)
    console.size = ConsoleDimensions(80, 24)
    console.set_footer([Text("x" * 70), Text("y" * 10)])
    screen.rows[:1] = ["x" * 40, "x" * 30]  # what terminals do with a line that is too long now
    screen.at += 1
    console.size = ConsoleDimensions(40, 24)
    console.set_footer([Text("z" * 40)])
    assert [row for row in screen.rows if row] == ["z" * 40]


def test_a_print_from_within_a_print_waits_its_turn(screen: Screen) -> None:
    console = FooterConsole(screen)
    console.set_footer([Text("footer")])

    class Signalled:
        def __rich__(self) -> str:
            console.print("signal")
            return "first"

    console.print(Signalled())
    assert screen.rows == ["first", "signal", "footer"]


def test_a_signal_handler_may_log_while_its_thread_draws_and_others_wait(screen: Screen) -> None:
    console = FooterConsole(screen)
    handler = TerminalHandler(console)
    records = [
        logging.makeLogRecord({"name": "root", "msg": name, "levelno": 20, "levelname": "INFO"})
        for name in ("theirs", "ours")
    ]
    other = threading.Thread(target=handler.handle, args=records[:1], daemon=True)

    class Drawn:
        def __rich__(self) -> str:
            other.start()
            other.join(0.2)
            handler.handle(records[1])
            return "drawn"

    console.print(Drawn())
    other.join(5)
    assert [re.sub(".*INFO *|root *", "", row) for row in screen.rows] == [
        "drawn",
        "ours",
        "theirs",
        "",
    ]


def test_a_terminal_that_is_gone_harms_nobody(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = FooterConsole(screen)
    console.set_footer([Text("footer")])

    def gone(text: str) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(screen, "write", gone)
    FooterConsole(screen).set_footer([Text("footer")])
    console.print("hello")
    console.set_footer([Text("other")])
    console.set_footer([])
