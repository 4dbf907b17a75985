"""Sizes as text, read and written."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbcli.values.sizes import LARGEST, about, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("800000", 800_000),
        ("500MB", 500_000_000),
        ("500m", 500_000_000),
        (" 1.5 GiB ", 3 * 2**29),
        ("2ki", 2048),
        ("1TB", 10**12),
        ("0", 0),
        (12, 12),
        ("1152921504606846975", LARGEST - 1),
    ],
)
def test_reading(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("", "is not a size; write bytes"),
        ("lots", "'lots' is not a size"),
        ("-1", "is not a size"),
        ("1e9", "is not a size"),
        ("1i", "is not a size"),
        (1.5, "is not a size"),
        (True, "is not a size"),
        (math.nan, "is not a size"),
        ("9" * 400 + "GB", "lies between"),
        ("9" * 400 + ".5GB", "lies between"),
        (-1, "lies between"),
        (2**61, "lies between"),
    ],
)
def test_what_is_no_size_is_refused_with_a_sentence(value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_size(value)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (999_499, "999kB"), (999_500, "1MB"),
     (512_345_678, "512MB"), (1_500_000_000, "1.5GB")],
)  # fmt: skip
def test_writing(size: int, text: str) -> None:
    assert about(size) == text


@given(st.integers(0, LARGEST))
def test_what_is_written_is_read_as_about_the_same(size: int) -> None:
    assert parse_size(about(size)) == pytest.approx(size, rel=0.01)
