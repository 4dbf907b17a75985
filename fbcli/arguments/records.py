"""Files and pipes of records: NDJSON, CSV and JSON arrays -> arguments, each with its place, so
that a fault can be found.

Knows text and signatures, nothing of messages' options or queues.
"""

from __future__ import annotations

import csv
import inspect
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any, BinaryIO, NamedTuple, TextIO

import msgspec

from fbcli.arguments.formats import Format
from fbcli.arguments.signature import Signature
from fbcli.errors import BadArguments, UsageError
from fbcli.message import EXTRA, MAX_BYTES
from fbcli.platform import system

_LONGEST_LINE = 2 * MAX_BYTES
_ANY = Signature("", [inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)])
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_NOT_JSON = (msgspec.DecodeError, UnicodeError, RecursionError)


class Record(NamedTuple):
    """One record of a file, or what is wrong with it."""

    place: str
    """Where it stands: `calls.csv, line 7`."""
    arguments: dict[str, Any]
    fault: UsageError | None = None


def read_records(
    stream: TextIO | BinaryIO | Pipe,
    format: Format | None = None,
    name: str = "stdin",
    signature: Signature | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the arguments of each record, as `scan_records` does; raises the first fault, after
    those before it."""
    for record in scan_records(stream, format, name, signature):
        if record.fault is not None:
            raise record.fault from None
        yield record.arguments


def scan_records(
    stream: TextIO | BinaryIO | Pipe,
    format: Format | None = None,
    name: str = "stdin",
    signature: Signature | None = None,
) -> Iterator[Record]:
    """Yield each record: a line of NDJSON, a row of CSV, an item of a JSON array. A bad one is
    yielded with its fault.

    Without `format` it is told by the ending of `name`, else by the first character: `{` NDJSON,
    `[` JSON, else CSV. NDJSON and CSV are streamed. CSV has a header; its cells are read as
    `key=text` of the shell is, and an empty one that does not fit is left out when the parameter
    has a default. A record may hold `extra` (in CSV as JSON). Raises `UsageError` for a bad CSV
    header and for a JSON array that is none.
    """
    lines = _lines(getattr(stream, "buffer", stream))
    number, first = next(((number, line) for number, line in lines if not line.isspace()), (1, b""))
    lines = itertools.chain([(number, first.removeprefix(b"\xef\xbb\xbf"))], lines)
    chosen = format or _format_of(name, first)
    if chosen == "json":
        return _json_records(b"".join(line for _, line in lines), name)
    if chosen == "ndjson":
        return _ndjson_records(lines, name)
    return _csv_records(
        lines, name, signature or _ANY, max(",;\t", key=lambda each: first.count(each.encode()))
    )


def open_file(path: Path) -> BinaryIO:
    """Open a file of records. Raises `UsageError`."""
    try:
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None


def count_lines(path: Path) -> int | None:
    """Return about how many records a file holds, by its lines; None for what cannot be read
    twice."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


class Pipe:
    """The lines of a file descriptor. Calls `idle()` before it waits for more, so that nothing that
    was read is kept back while whoever writes is slow."""

    def __init__(self, fileno: int, idle: Callable[[], None]) -> None:
        self._fileno = fileno
        self._idle = idle
        self._lines: deque[bytes] = deque()
        self._rest = b""

    def readline(self, limit: int) -> bytes:
        """Return the next line, or a piece of at least `limit` bytes of a longer one; nothing at
        the end."""
        while not self._lines:
            if len(self._rest) >= limit:
                return self._take_rest()
            if not system.has_input(self._fileno):
                self._idle()
            chunk = os.read(self._fileno, 1 << 16)
            if not chunk:
                return self._take_rest()
            *ended, rest = chunk.split(b"\n")
            if ended:
                ended[0] = self._take_rest() + ended[0]
                self._lines.extend(line + b"\n" for line in ended)
            self._rest += rest
        return self._lines.popleft()

    def _take_rest(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest


def _lines(source: Any) -> Iterator[tuple[int, bytes]]:
    for number in itertools.count(1):
        line = source.readline(_LONGEST_LINE)
        if not line:
            return
        yield number, line if isinstance(line, bytes) else line.encode("utf-8", "surrogatepass")


def _format_of(name: str, first: bytes) -> Format:
    by_ending: dict[str, Format] = {
        ".csv": "csv",
        ".tsv": "csv",
        ".ndjson": "ndjson",
        ".jsonl": "ndjson",
    }
    start = first.removeprefix(b"\xef\xbb\xbf").lstrip()
    if (ending := PurePath(name).suffix.lower()) in by_ending:
        return by_ending[ending]
    if start.startswith(b"["):
        return "json"
    if start.startswith(b"{"):
        return "json" if start.rstrip() == b"{" else "ndjson"  # an object over several lines
    return "csv"


def _ndjson_records(lines: Iterable[tuple[int, bytes]], name: str) -> Iterator[Record]:
    for number, line in lines:
        place = f"{name}, line {number}"
        try:
            yield Record(place, _decode_object(line))
        except _NOT_JSON as error:
            if not line.strip():
                continue
            reason = f"longer than {_LONGEST_LINE:,} bytes" if len(line) >= _LONGEST_LINE else error
            yield _bad(place, f"not a JSON object ({reason})", line)


def _json_records(document: bytes, name: str) -> Iterator[Record]:
    try:
        records = msgspec.json.decode(document)
    except _NOT_JSON as error:
        raise UsageError(f"{name} is not JSON: {error}.") from None
    for number, record in enumerate(records if isinstance(records, list) else [records], 1):
        place = f"{name}, item {number}"
        if isinstance(record, dict):
            yield Record(place, record)
        else:
            yield _bad(place, f"not an object of arguments by name: {_cut(repr(record))}")


def _csv_records(
    lines: Iterable[tuple[int, bytes]], name: str, signature: Signature, delimiter: str
) -> Iterator[Record]:
    number = 0
    line = b""

    def texts() -> Iterator[str]:
        nonlocal number, line
        for number, line in lines:  # noqa: B007  the error messages' place
            yield line.decode("utf-8", "surrogateescape")

    rows = csv.reader(texts(), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield _bad(f"{name}, line {number}", error)
            continue
        place = f"{name}, line {number}"
        if row is None:
            return
        if header is None:
            header = [cell.strip() for cell in row]
            if "" in header or len(set(header)) < len(header):
                raise UsageError(
                    f"{place}: the header must name each column, and each once:"
                    f" {', '.join(header)}."
                )
        elif row and not "".join(row).isprintable() and not _is_utf8(row):
            yield _bad(place, "not UTF-8 text", line)
        elif row and len(row) != len(header):
            yield _bad(place, f"{len(row)} cells, but {len(header)} columns: {_cut(str(row))}")
        elif row:
            try:
                yield Record(place, _csv_record(header, row, signature))
            except BadArguments as error:
                yield Record(place, {}, BadArguments(f"{place}: {error}"))


def _csv_record(header: list[str], row: list[str], signature: Signature) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for key, cell in zip(header, row, strict=True):
        try:
            if key != EXTRA:
                record[key] = signature.read(key, cell)
            elif cell:
                record[key] = _decode_object(cell)
        except _NOT_JSON as error:
            raise BadArguments(f"{EXTRA}={_cut(cell)} is not JSON of an object ({error})") from None
        except BadArguments:
            parameter = signature.parameter(key)
            if cell or parameter is None or parameter.default is parameter.empty:
                raise
    return record


def _is_utf8(row: list[str]) -> bool:
    try:
        "".join(row).encode()
    except UnicodeEncodeError:
        return False
    return True


def _bad(place: str, reason: object, line: bytes | None = None) -> Record:
    shown = f": {_cut(line.decode(errors='replace').strip())}" if line is not None else ""
    return Record(place, {}, UsageError(f"{place}: {reason}{shown}"))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"
