"""What is settled above a committed offset, as text: what is read from it is what was written, or
less, and never anything else."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fbcli.brokers.offset_metadata import FORM, MOST_METADATA, Run, decode, encode


def runs_above(offset: int, steps: list[tuple[int, int]]) -> list[Run]:
    runs = []
    for gap, length in steps:
        start = offset + gap
        offset = start + length
        runs.append((start, offset))
    return runs


offsets = st.one_of(st.integers(0, 1000), st.integers(0, 2**63 - 1), st.integers(0, 2**130))
sizes = st.one_of(st.integers(1, 5), st.integers(1, 2**40))
steps = st.lists(st.tuples(sizes, sizes), max_size=30)


@given(offsets, steps)
def test_what_is_written_is_read(offset: int, steps: list[tuple[int, int]]) -> None:
    runs = runs_above(offset, steps)
    text = encode(runs, offset)
    assert decode(text, offset) == runs
    assert text.isascii()
    assert bool(text) == bool(runs)


@given(offsets, steps, st.integers(0, 200))
def test_what_does_not_fit_is_left_out(
    offset: int, steps: list[tuple[int, int]], most: int
) -> None:
    runs = runs_above(offset, steps)
    text = encode(runs, offset, most)
    assert len(text) <= most
    found = decode(text, offset)
    assert found == runs[: len(found)], "from the lowest on"


def test_it_is_compact() -> None:
    every_other = [(offset, offset + 1) for offset in range(101, 3001, 2)]
    text = encode(every_other, 100)
    assert decode(text, 100) == every_other
    assert len(text) < MOST_METADATA
    assert len(encode([(101, 1_000_000)], 100)) < 20


@given(offsets, steps, offsets)
def test_with_another_offset_it_says_nothing(
    offset: int, steps: list[tuple[int, int]], other: int
) -> None:
    assume(other != offset)
    assert decode(encode(runs_above(offset, steps), offset), other) == []


@given(st.one_of(st.text(), st.text().map(lambda text: FORM + text)), st.integers(0, 1000))
def test_what_others_wrote_says_nothing(text: str, offset: int) -> None:
    assert decode(text, offset) == []


@given(steps.filter(bool), st.data())
def test_what_was_damaged_says_nothing(steps: list[tuple[int, int]], data: st.DataObject) -> None:
    text = encode(runs_above(7, steps), 7)
    place = data.draw(st.integers(len(FORM), len(text) - 1))
    damage = data.draw(st.sampled_from("Aa0_-=~\n"))
    damaged = text[:place] + damage + text[place + 1 :]
    assume(damaged != text)
    found = decode(damaged, 7)
    # The last character may hold bits that stand for nothing.
    assert found == [] or (found == runs_above(7, steps) and place == len(text) - 1)
    assert decode(text[:place], 7) in ([], runs_above(7, steps))


@pytest.mark.parametrize("text", ["", "fb1:", "fb1:AAAA", "fb2:AAAAAAA", "consumer-1 was here"])
def test_samples_that_say_nothing(text: str) -> None:
    assert decode(text, 0) == []


def test_a_sample_of_the_form_as_it_is_kept_on_servers() -> None:
    assert encode([(43, 45), (50, 350)], 42) == "fb1:9exJgAECBawC"
    assert decode("fb1:9exJgAECBawC", 42) == [(43, 45), (50, 350)]
