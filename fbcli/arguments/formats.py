"""The formats of files of records. Apart from what reads them, since every `fb push` shows them in
its help."""

from __future__ import annotations

from typing import Literal

Format = Literal["ndjson", "csv", "json"]

FORMATS: tuple[Format, ...] = ("ndjson", "csv", "json")
