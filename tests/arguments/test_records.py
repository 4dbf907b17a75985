"""Files and pipes of records: every record, or what is wrong with it, with its place."""

from __future__ import annotations

import csv
import io
import json
import os
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbcli.arguments.records import Pipe, Record, read_records, scan_records
from fbcli.arguments.signature import Signature
from fbcli.errors import UsageError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**100), 2**100)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def task(x: int, y: int = 2) -> int:
    return x + y


def read(data: str | bytes, *args: Any, **options: Any) -> list[dict[str, Any]]:
    return list(
        read_records(
            io.BytesIO(data if isinstance(data, bytes) else data.encode()), *args, **options
        )
    )


def test_ndjson() -> None:
    records = [{"x": 1, "extra": {"priority": 3}}, {"x": "ü\n"}, {}]
    text = "\n\n" + "\n".join(json.dumps(record) for record in records) + "\n  \n"
    for chosen in (None, "ndjson"):
        assert read(text, chosen) == records
        assert read("\ufeff" + text.strip(), chosen) == records
        assert read(text.replace("\n", "\r\n"), chosen) == records
        assert list(read_records(io.StringIO(text), chosen)) == records
    assert read(text, None, "a.jsonl") == read(text, None, "a.json") == records
    assert read("") == read("\n\n") == read("", "ndjson") == read("", None, "a.csv") == []


def test_a_text_stream_on_bytes_is_read_as_bytes() -> None:
    assert list(
        read_records(io.TextIOWrapper(io.BytesIO('{"x":"ü"}'.encode()), encoding="ascii"))
    ) == [{"x": "ü"}]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"{'x': 1}", "file, line 3: not a JSON object (JSON is malformed"),
        (b"[1]", "file, line 3: not a JSON object (Expected `object`, got `array`): [1]"),
        (b'{"x":"\xff"}', "file, line 3: not a JSON object ('utf-8' codec"),
        (b'{"x": ' + b"[" * 100_000, "file, line 3: not a JSON object (maximum recursion"),
        (b"y" * 500, "y" * 59 + "…"),
    ],
)
def test_ndjson_faults_name_the_line_after_all_before_it(line: bytes, sentence: str) -> None:
    records = read_records(io.BytesIO(b'{"x":1}\n\n' + line + b"\n"), "ndjson", "file")
    assert next(records) == {"x": 1}
    with pytest.raises(UsageError) as caught:
        next(records)
    assert sentence in str(caught.value)


def test_json_files() -> None:
    assert read('[{"x": 1},\n {"x": 2}]') == [{"x": 1}, {"x": 2}]
    assert read('\n {\n "x": 1\n}\n', None, "a.json") == [{"x": 1}]
    assert read('{"x": 1}', "json") == [{"x": 1}]
    assert read("[]") == []
    with pytest.raises(UsageError, match=r"a\.json, item 2: not an object of arguments by name: 5"):
        read('[{"x": 1}, 5]', None, "a.json")
    with pytest.raises(UsageError, match=r"a\.json is not JSON"):
        read('[{"x": 1}, ', None, "a.json")
    long = json.dumps([{"x": "a" * 1000}] * 10_000)
    assert len(read(long)) == 10_000


def test_csv_is_read_by_the_annotations() -> None:
    def function(x: int, name: str, on: date | None = None, ratio: float = 1.0) -> None: ...

    text = 'x, name ,on,ratio\n1,007,2024-01-02,0.5\n\n2,"a, ""b""\nc",,\n'
    for stream in (text, "\ufeff" + text, text.replace("\n", "\r\n"), text.rstrip()):
        assert [
            {**each, "name": each["name"].replace("\r", "")}
            for each in read(stream, signature=Signature.of(function))
        ] == [
            {"x": 1, "name": "007", "on": date(2024, 1, 2), "ratio": 0.5},
            {"x": 2, "name": 'a, "b"\nc', "on": None},
        ]
    assert (
        read("a;b\n1;x\n")
        == read("a\tb\n1\tx\n")
        == read("a,b\n1,x\n", "csv")
        == [{"a": 1, "b": "x"}]
    )
    assert read('x,extra\n1,"{""priority"": 3}"\n2,\n') == [
        {"x": 1, "extra": {"priority": 3}},
        {"x": 2},
    ]
    assert read("x\n@/etc/passwd\n") == [{"x": "@/etc/passwd"}]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x,y\n1,2\n3\n", "f.csv, line 3: 1 cells, but 2 columns: ['3']"),
        ("x,y\n1,2,3\n", "f.csv, line 2: 3 cells, but 2 columns"),
        ("x,x\n1,2\n", "f.csv, line 1: the header must name each column"),
        ("x,\n1,2\n", "f.csv, line 1: the header must name each column"),
        ("\n\nx,y\n\nabc,1\n", "f.csv, line 5: x='abc' is not an int"),
        ("x,y\n,1\n", "f.csv, line 2: x='' is not an int"),
        ('x,y\n1,"2\n', "f.csv, line 2: unexpected end of data"),
        (b"x,y\n1,\xff\n", "f.csv, line 2: not UTF-8 text: 1,\ufffd"),
        ("x,extra\n1,abc\n", "is not JSON"),
        (
            "x,y\n1," + "a" * (csv.field_size_limit() + 1),
            "f.csv, line 2: field larger than field limit",
        ),
    ],
)
def test_csv_faults_name_the_line(text: str | bytes, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(text, None, "f.csv", Signature.of(task))
    assert sentence in str(caught.value)


class Endless(io.RawIOBase):
    """A file of one line again and again, without end."""

    def __init__(self, line: bytes) -> None:
        self.line = line

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = len(buffer) // len(self.line) * len(self.line)
        buffer[:size] = self.line * (size // len(self.line))
        return size


@pytest.mark.parametrize(
    ("line", "record"), [(b'{"x":1}\n', {"x": 1}), (b"1,2\n", {"1": 1, "2": 2})]
)
def test_files_are_streamed(line: bytes, record: dict[str, Any]) -> None:
    records = read_records(io.BufferedReader(Endless(line)))
    for _ in range(10_000):
        assert next(records) == record
    with pytest.raises(UsageError, match="longer than 8,388,608 bytes"):
        next(read_records(io.BufferedReader(Endless(b"{" + b"x" * 100))))


@given(st.lists(st.dictionaries(TEXT, JSON, max_size=3), max_size=5))
def test_records_survive(records: list[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    assert read(lines, "ndjson") == records
    assert read(json.dumps(records)) == records


@given(
    st.lists(st.tuples(st.integers(), TEXT.filter(lambda text: "\0" not in text)), max_size=5)
)  # NUL: not before 3.11
def test_csv_survives(rows: list[tuple[int, str]]) -> None:
    def function(number: int, text: str) -> None: ...

    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerows([("number", "text"), *rows])
    records = read(stream.getvalue(), "csv", signature=Signature.of(function))
    assert records == [{"number": number, "text": text} for number, text in rows]


# --- records with a fault


def scan(data: str | bytes, *args: Any, **options: Any) -> list[Record]:
    return list(
        scan_records(
            io.BytesIO(data if isinstance(data, bytes) else data.encode()), *args, **options
        )
    )


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.ndjson", b'{"x":1}\n[]\n\n{"x":3}\n{"x":\xff}\n{"x":5}\n'),
        ("a.csv", b'x,y\n1,\nb,\n3,4\n5\n6,"7"8\n\xff,1\n9,\n"unclosed,5\n'),
        ("a.json", b'[{"x": 1}, 2, {"x": 3}, null]'),
    ],
)
def test_all_that_follows_a_bad_record_is_read(name: str, data: bytes) -> None:
    records = scan(data, None, name, Signature.of(task))
    good = [record.arguments["x"] for record in records if record.fault is None]
    assert good == {"a.ndjson": [1, 3, 5], "a.csv": [1, 3, 9], "a.json": [1, 3]}[name]
    for record in records:
        if record.fault is not None:
            assert isinstance(record.fault, UsageError)
            assert str(record.fault).startswith(f"{record.place}: ")
            assert record.place.startswith(f"{name}, {'item' if name == 'a.json' else 'line'} ")


def test_places() -> None:
    assert [record.place for record in scan('\n{"x":1}\n\n{"x":2}\n')] == [
        "stdin, line 2",
        "stdin, line 4",
    ]
    assert [record.place for record in scan('x\n"a\nb"\nc\n')] == ["stdin, line 3", "stdin, line 4"]
    assert [record.place for record in scan('[{"x":1},{"x":2}]')] == [
        "stdin, item 1",
        "stdin, item 2",
    ]


# --- pipes


@given(st.lists(st.binary(max_size=12) | st.just(b"\n"), max_size=20))
def test_a_pipe_gives_the_lines_of_what_was_written(pieces: list[bytes]) -> None:
    reading, writing = os.pipe()
    try:
        with os.fdopen(writing, "wb", buffering=0) as writer:
            for piece in pieces:
                writer.write(piece)
        pipe = Pipe(reading, lambda: None)
        lines = list(iter(lambda: pipe.readline(1000), b""))
    finally:
        os.close(reading)
    assert lines == io.BytesIO(b"".join(pieces)).readlines()


def test_a_pipe_says_when_it_waits_and_cuts_lines_without_end() -> None:
    reading, writing = os.pipe()
    said: list[str] = []

    def idle() -> None:
        said.append("waiting")
        os.write(writing, b"2\n")

    try:
        os.write(writing, b"1\n")
        pipe = Pipe(reading, idle)
        assert (pipe.readline(1000), said) == (b"1\n", [])
        assert (pipe.readline(1000), said) == (b"2\n", ["waiting"])
        os.write(writing, b"x" * 100)
        os.write(writing, b"\n")
        assert len(pipe.readline(10)) >= 10
    finally:
        os.close(reading)
        os.close(writing)
