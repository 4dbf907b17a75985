"""Many records into one queue: in batches, and what is bad is told with its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from fbcli.arguments.records import Record
from fbcli.broker import Outgoing
from fbcli.errors import BadArguments, Unavailable, UsageError
from fbcli.pushing.feed import BATCH, Feed


class Published:
    """A broker's side of a feed."""

    def __init__(self, *, away_after: int | None = None) -> None:
        self.batches: list[int] = []
        self.bodies: list[bytes] = []
        self._away_after = away_after

    def __call__(self, batch: Sequence[Outgoing]) -> None:
        if self._away_after is not None and len(self.batches) >= self._away_after:
            raise Unavailable("The broker is away.")
        self.batches.append(len(batch))
        self.bodies += [message.body for message in batch]


def make(arguments: Mapping[str, Any]) -> Outgoing:
    if arguments.get("x") == "bad":
        raise BadArguments("x is bad.")
    return Outgoing(str(arguments["x"]).encode())


def records(*values: Any) -> Iterator[Record]:
    for number, value in enumerate(values, 1):
        fault = value if isinstance(value, UsageError) else None
        yield Record(f"line {number}", {} if fault else {"x": value}, fault)


def test_all_are_published_in_order_and_in_batches() -> None:
    published = Published()
    feed = Feed(make, published)
    feed.run(records(*range(2 * BATCH + 7)))
    assert published.batches == [BATCH, BATCH, 7]
    assert published.bodies == [str(number).encode() for number in range(2 * BATCH + 7)]
    assert (feed.pushed, feed.skipped) == (2 * BATCH + 7, 0)


def test_nothing_is_no_batch() -> None:
    published = Published()
    Feed(make, published).run(records())
    assert published.batches == []


@pytest.mark.parametrize(
    ("bad", "told"),
    [("bad", "line 3: x is bad. "), (UsageError("line 3 is not JSON."), "line 3 is not JSON. ")],
)
def test_those_before_a_bad_one_are_published(bad: Any, told: str) -> None:
    published = Published()
    feed = Feed(make, published)
    with pytest.raises(UsageError) as caught:
        feed.run(records(1, 2, bad, 4))
    assert str(caught.value) == f"{told}2 messages were pushed before that."
    assert type(caught.value) is (BadArguments if bad == "bad" else UsageError)
    assert published.bodies == [b"1", b"2"]


def test_bad_ones_are_left_out_where_that_is_wanted() -> None:
    published, skipped = Published(), list[str]()
    feed = Feed(make, published, skip=lambda error: skipped.append(str(error)))
    feed.run(records(1, "bad", UsageError("line 3 is not JSON."), 4))
    assert published.bodies == [b"1", b"4"]
    assert skipped == ["line 2: x is bad.", "line 3 is not JSON."]
    assert (feed.pushed, feed.skipped) == (2, 2)


def test_a_broker_that_goes_away_is_told_with_how_far_it_came() -> None:
    feed = Feed(make, Published(away_after=1), done="replayed")
    with pytest.raises(Unavailable) as caught:
        feed.run(records(*range(BATCH + 20)))
    assert str(caught.value) == (
        f"The broker is away. {BATCH:,} messages were replayed before that; of the next 20 some may"
        " have been."
    )
    assert feed.pushed == BATCH


def test_of_a_single_message_there_is_no_doubt_in_words() -> None:
    with pytest.raises(Unavailable) as caught:
        Feed(make, Published(away_after=0)).run(records(1))
    assert str(caught.value) == "The broker is away. 0 messages were pushed before that."


def test_records_are_read_as_they_are_needed() -> None:
    published, read = Published(), []

    def lazy() -> Iterator[Record]:
        for record in records(*range(3 * BATCH)):
            read.append(len(published.bodies))
            yield record

    Feed(make, published).run(lazy())
    assert read[BATCH] == BATCH, "the first batch is out before the next record is read"
