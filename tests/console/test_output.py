"""The console: what is data, what is told, what is asked. Streams are given; a terminal is tested
with a real one in tests/cli."""

from __future__ import annotations

import io

import msgspec
import pytest

from fbcli.clients.loading import mask
from fbcli.console.output import Output, aligned, visible
from fbcli.errors import Refused


class Streams:
    def __init__(self, *, json: bool = False, typed: str = "", terminal: bool = False) -> None:
        kind = Terminal if terminal else io.StringIO
        self.stdin, self.stdout, self.stderr = kind(typed), io.StringIO(), kind()
        self.output = Output(json=json, stdin=self.stdin, stdout=self.stdout, stderr=self.stderr)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


ROWS = [("a.b", 12, None, True, 1.0), ("longer", 3456, 2.5, False, 0.25)]
COLUMNS = ("queue", "ready", "rate", "is_paused", "seconds")


def test_a_table_is_aligned_and_never_cut() -> None:
    streams = Streams()
    streams.output.table(COLUMNS, ROWS)
    assert streams.stdout.getvalue().splitlines() == [
        "queue   ready  rate  is paused  seconds",
        "a.b        12     -  yes              1",
        "longer   3456   2.5  no            0.25",
    ]
    streams = Streams()
    streams.output.table(("text",), [("x" * 500,)])
    assert "x" * 500 in streams.stdout.getvalue()


def test_a_table_is_objects_with_json() -> None:
    streams = Streams(json=True)
    streams.output.table(COLUMNS, ROWS, empty=("Nothing.",))
    assert [msgspec.json.decode(line) for line in streams.stdout.getvalue().splitlines()] == [
        dict(zip(COLUMNS, row, strict=True)) for row in ROWS
    ]


@pytest.mark.parametrize("json", [False, True])
def test_an_empty_table_says_what_to_type(json: bool) -> None:
    streams = Streams(json=json)
    streams.output.table(COLUMNS, [], empty=("Nothing here.", "fb push mymod:task x=1"))
    assert streams.stdout.getvalue() == ""
    assert streams.stderr.getvalue() == (
        "" if json else "Nothing here.\n  fb push mymod:task x=1\n"
    )


def test_control_characters_are_shown_not_obeyed() -> None:
    assert visible("a\x1b[31mb\r\n\x9b\u202e") == "a\\x1b[31mb\\r\\n\\x9b\\u202e"
    assert [visible(cell) for cell in (None, True, False, 3, 3.0, 0.1, "é[b]x[/b]")] == [
        "-", "yes", "no", "3", "3", "0.1", "é[b]x[/b]"
    ]  # fmt: skip


def test_alignment_has_no_trailing_spaces() -> None:
    assert aligned([["a", "b"], ["ccc", ""]], [False, True]) == "a    b\nccc"
    assert aligned([["a", "b"], ["ccc", "d"]], [False, False], gap=1) == "a   b\nccc d"


# --- confirmation


@pytest.mark.parametrize("typed", ["y\n", "YES\n", " y \n"])
def test_yes(typed: str) -> None:
    streams = Streams(typed=typed, terminal=True)
    assert streams.output.confirm("Remove 3 messages?")
    assert streams.stderr.getvalue() == "Remove 3 messages? [y/N] "
    assert streams.stdout.getvalue() == ""


@pytest.mark.parametrize("typed", ["\n", "n\n", "yep\n", ""])
def test_anything_else_is_no(typed: str) -> None:
    with pytest.raises(Refused, match=r"Nothing was done\."):
        Streams(typed=typed, terminal=True).output.confirm("Remove 3 messages?")


@pytest.mark.parametrize(("terminal", "no_input"), [(False, False), (True, True)])
def test_who_cannot_be_asked_is_told_the_command(terminal: bool, no_input: bool) -> None:
    streams = Streams(typed="y\n", terminal=terminal)
    with pytest.raises(Refused) as refused:
        streams.output.confirm("Remove 3 messages?", command="fb clear q", no_input=no_input)
    assert (
        str(refused.value)
        == "Remove 3 messages: this needs your confirmation. Do it by: fb clear q -y"
    )
    assert refused.value.exit_code == 6


def test_the_command_is_the_one_that_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["fb", "clear", "my queue", "--broker", "redis://:secret@h/0"])
    with pytest.raises(Refused) as refused:
        Streams().output.confirm("Remove?")
    assert str(refused.value).endswith(
        "Do it by: fb clear 'my queue' --broker 'redis://:***@h/0' -y"
    )


def test_yes_flag_and_dry_run() -> None:
    streams = Streams()
    assert streams.output.confirm("Remove?", yes=True)
    assert not streams.output.confirm("Remove?", yes=True, dry_run=True)
    assert streams.stderr.getvalue() == "Nothing was done (--dry-run).\n"


# --- values and progress


@pytest.mark.parametrize(
    ("value", "plain", "json"),
    [
        ("text", "text\n", '"text"\n'),
        (None, "", "null\n"),
        ({"a": [1]}, '{"a":[1]}\n', '{"a":[1]}\n'),
        (0, "0\n", "0\n"),
    ],
)
def test_values(value: object, plain: str, json: str) -> None:
    for output, expected in ((Streams(), plain), (Streams(json=True), json)):
        output.output.value(value)
        assert output.stdout.getvalue() == expected


def test_progress_is_silent_without_a_terminal() -> None:
    streams = Streams()
    with streams.output.progress("pushing", 10) as advance:
        advance(5)
    assert streams.stderr.getvalue() == streams.stdout.getvalue() == ""


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://:pw@h/0", "redis://:***@h/0"),
        ("amqp://user:p:w@h/v", "amqp://user:***@h/v"),
        ("redis://user@h/0", "redis://user@h/0"),
        ("sqlite:////tmp/a:b@c.db", "sqlite:////tmp/a:b@c.db"),
        ("redis://h/0?password=pw&db=1", "redis://h/0?password=***&db=1"),
        ("redis://h?ssl_password=pw", "redis://h?ssl_password=***"),
        (
            "Cannot reach redis://u:pw@h, nor redis://u:pw@g.",
            "Cannot reach redis://u:***@h, nor redis://u:***@g.",
        ),
        ("write to a:b@c", "write to a:b@c"),
    ],
)
def test_passwords_are_masked(url: str, masked: str) -> None:
    assert mask(url) == masked
