"""Offsets: what is committed is settled, what is settled is committed as soon as it can be, and no
message is passed over, whoever has the partition next."""

from __future__ import annotations

import threading
from bisect import bisect_left

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fbcli.brokers.offset_book import Commit, Handle, OffsetBook
from fbcli.brokers.offset_metadata import decode

Book = OffsetBook[str]


def began(offset: int | None = 0, metadata: str = "", **options: int) -> Book:
    book: Book = OffsetBook(**options)
    book.assign("p", offset, metadata)
    return book


def read(book: Book, *offsets: int) -> dict[int, Handle[str]]:
    """Return the handles of what is to be delivered."""
    handles = book.read("p", offsets)
    return {at: handle for at, handle in zip(offsets, handles, strict=True) if handle is not None}


def committed(book: Book) -> tuple[int, list[tuple[int, int]], int | None] | None:
    """Commit what is due; return the offset, what is settled above, and the highest settled."""
    due = book.due()
    if not due:
        return None
    (commit,) = due
    book.confirmed(due)
    return commit.offset, decode(commit.metadata, commit.offset), commit.settled


def test_it_is_committed_up_to_the_lowest_that_is_not_settled() -> None:
    book = began(10)
    hand = read(book, 10, 11, 12, 13, 14)
    assert committed(book) is None
    assert book.settle([hand[10], hand[12], hand[13]]) == []
    assert committed(book) == (11, [(12, 14)], 10)
    assert committed(book) is None
    assert book.span("p") == 4
    book.settle([hand[11]])
    assert committed(book) == (14, [], 13)
    book.settle([hand[14]])
    assert committed(book) == (15, [], 14)
    assert book.span("p") == 0


def test_a_commit_stays_due_until_the_server_knows_it() -> None:
    book = began(0)
    hand = read(book, 0, 1)
    book.settle([hand[0]])
    first = book.due()
    assert book.due() == first == [Commit("p", 1, 1, "", 0)]
    book.settle([hand[1]])
    assert [commit.offset for commit in book.due()] == [2]
    book.confirmed(first)
    assert [commit.offset for commit in book.due()] == [2], "an older one was confirmed"
    book.confirmed(book.due())
    assert book.due() == []


def test_offsets_that_the_log_lacks_hold_up_nothing() -> None:
    book = began(5)
    hand = read(book, 7, 9, 30, 31)
    book.settle([hand[9], hand[30]])
    assert committed(book) == (7, [(9, 31)], None)
    book.settle([hand[7]])
    assert committed(book) == (31, [], 30)


def test_settling_twice_changes_nothing() -> None:
    book = began(0)
    hand = read(book, 0, 1)
    for _ in range(2):
        assert book.settle([hand[0], hand[0]]) == []
    assert committed(book) == (1, [], 0)
    assert book.settle([hand[0]]) == []
    assert committed(book) is None


def test_where_a_group_begins_is_committed_before_anything_is_settled() -> None:
    """Or the next one would begin at the end of the log, behind what nobody has done."""
    book = began(None)
    assert book.due() == []
    read(book, 1000, 1001)
    assert committed(book) == (1000, [], None)


def test_who_has_the_partition_next_runs_nothing_again_that_is_settled() -> None:
    book = began(0)
    hand = read(book, *range(10))
    book.settle([hand[at] for at in (2, 3, 7)])
    (commit,) = book.due()
    successor = began(commit.offset, commit.metadata)
    assert committed(successor) is None, "the server knows all that"
    hand = read(successor, 0, 1, 2, 3)
    assert sorted(hand) == [0, 1]
    successor.settle(hand.values())
    assert committed(successor) == (4, [(7, 8)], 3), "what was not read again is still known"
    hand = read(successor, 4, 5, 6, 7, 8)
    assert sorted(hand) == [4, 5, 6, 8]
    successor.settle([hand[at] for at in (4, 5, 6)])
    assert committed(successor) == (8, [], 7)


def test_what_is_settled_already_need_not_be_read_to_be_committed() -> None:
    book = began(0)
    hand = read(book, *range(6))
    book.settle([hand[at] for at in (1, 2, 3)])
    (commit,) = book.due()
    successor = began(commit.offset, commit.metadata)
    successor.settle(read(successor, 0).values())
    assert committed(successor) == (4, [], 0)
    assert sorted(read(successor, 1, 2, 3, 4)) == [4]
    assert committed(successor) is None


def test_what_does_not_fit_is_run_again() -> None:
    book = began(0, most_metadata=40)
    hand = read(book, *range(1000))
    book.settle([hand[at] for at in range(1, 1000, 2)])
    (commit,) = book.due()
    assert len(commit.metadata) <= 40
    settled = {at for start, end in decode(commit.metadata, 0) for at in range(start, end)}
    assert settled
    assert settled <= set(range(1, 1000, 2))
    successor = began(commit.offset, commit.metadata)
    assert set(read(successor, *range(1000))) == set(range(1000)) - settled


def test_somebody_elses_metadata_is_left_alone_until_there_is_something_to_say() -> None:
    book = began(3, "consumer-7@host")
    hand = read(book, 3, 4)
    assert sorted(hand) == [3, 4]
    book.settle([hand[4]])
    assert committed(book) == (3, [(4, 5)], None)


def test_a_partition_that_was_taken_away_is_fenced() -> None:
    book = began(0)
    hand = read(book, 0, 1)
    book.drop(["p", "unknown"])
    assert book.settle(hand.values()) == list(hand.values())
    assert book.read("p", [2, 3]) == [None, None]
    assert book.due() == book.due(["p"]) == []
    assert book.span("p") == 0
    book.assign("p", 0)
    again = read(book, 0, 1)
    assert book.settle([hand[0], again[1]]) == [hand[0]], "fetched before, settled after"
    assert committed(book) == (0, [(1, 2)], None)


def test_a_confirm_of_an_earlier_assignment_means_nothing() -> None:
    book = began(0)
    book.settle(read(book, 0).values())
    old = book.due()
    book.drop(["p"])
    book.assign("p", 0)
    book.settle(read(book, 0).values())
    book.confirmed(old)
    assert committed(book) == (1, [], 0)
    book.drop(["p"])
    book.confirmed(old)


def test_partitions_do_not_know_of_each_other() -> None:
    book: OffsetBook[tuple[str, int]] = OffsetBook()
    for number in range(3):
        book.assign(("t", number), 0)
    hand = {number: book.read(("t", number), [0, 1]) for number in range(3)}
    book.settle([handle for handle in (hand[0][0], hand[2][1], hand[1][0], hand[1][1]) if handle])
    assert {commit.partition[1]: commit.offset for commit in book.due()} == {0: 1, 1: 2, 2: 0}
    assert [commit.partition for commit in book.due([("t", 1)])] == [("t", 1)]
    book.drop([("t", 0)])
    assert {commit.partition[1] for commit in book.due()} == {1, 2}


def test_a_log_that_is_read_again_from_further_back_is_delivered_again() -> None:
    book = began(0)
    hand = read(book, *range(6))
    book.settle([hand[1], hand[4]])
    assert committed(book) == (0, [(1, 2), (4, 5)], None)
    again = read(book, 3, 4, 5)
    assert sorted(again) == [3, 4, 5]
    assert book.settle([hand[2], hand[3], hand[4]]) == [hand[3], hand[4]], (
        "what was delivered again is another's; what was not, is still in hand"
    )
    assert committed(book) == (0, [(1, 3)], None)
    book.settle([hand[0], again[3]])
    assert committed(book) == (4, [], 3)


def test_a_log_that_was_cut_off_below_what_is_committed_is_read_from_there() -> None:
    book = began(100)
    book.settle(read(book, 100, 101).values())
    assert committed(book) == (102, [], 101)
    hand = read(book, 7)
    assert committed(book) == (7, [], None)
    book.settle(hand.values())
    assert committed(book) == (8, [], 7)


def test_what_was_settled_of_a_log_that_was_cut_off_says_nothing_of_what_took_its_place() -> None:
    book = began(0)
    book.settle([read(book, *range(6))[4]])
    (commit,) = book.due()
    successor = began(commit.offset, commit.metadata)
    assert sorted(read(successor, 0, 1, 2)) == [0, 1, 2]
    assert sorted(read(successor, 1, 2, 3, 4)) == [1, 2, 3, 4]


def test_numbers_of_any_size_are_offsets() -> None:
    """Such as Pulsar's ids of messages, made one number of ledger, entry and place in the batch."""
    ids = [(ledger << 64) | entry for ledger in (5, 6) for entry in range(3)]
    book = began(None)
    hand = read(book, *ids)
    book.settle([hand[at] for at in (*ids[:4], ids[5])])
    offset, runs, settled = committed(book) or (0, [], None)
    assert (offset, settled) == (ids[4], ids[3])
    assert runs == [(ids[5], ids[5] + 1)]


def test_any_thread_may_settle() -> None:
    book = began(0)
    handles = list(read(book, *range(4000)).values())
    threads = [
        threading.Thread(
            target=lambda part=part: [book.settle([handle]) for handle in handles[part::4]]
        )
        for part in range(4)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        book.confirmed(book.due())
    book.confirmed(book.due())
    assert book.due() == []
    assert book.span("p") == 0


# against a model that knows the log, and what has truly been settled of each message


class Log(RuleBasedStateMachine):
    """One partition, its server, and one consumer of the group after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[int] = []
        """The offsets that exist."""
        self.server: tuple[int | None, str] = (None, "")
        self.settled: set[int] = set()
        """All that anybody has settled, and was not told that it was too late."""
        self.hand: list[Handle[str]] = []
        self.stale: list[Handle[str]] = []
        """Handles of what somebody else has by now."""
        self.reads: list[int] = []
        """What this consumer has read, in the order of the log."""
        self.place = 0

    @initialize(
        gaps=st.lists(st.sampled_from([1, 1, 1, 2, 9]), min_size=1, max_size=60),
        room=st.sampled_from([4096, 4096, 24, 0]),
    )
    def begin(self, gaps: list[int], room: int) -> None:
        offset = 0
        for gap in gaps:
            self.log.append(offset)
            offset += gap
        self.room = room
        self.book: Book = OffsetBook(room)
        self.assign()

    def assign(self) -> None:
        offset, metadata = self.server
        self.book.assign("p", offset, metadata)
        self.stale += self.hand
        self.hand, self.reads = [], []
        self.place = 0 if offset is None else bisect_left(self.log, offset)

    @rule(count=st.integers(0, 8))
    def read(self, count: int) -> None:
        offsets = self.log[self.place : self.place + count]
        self.place += len(offsets)
        self.reads += offsets
        for offset, handle in zip(offsets, self.book.read("p", offsets), strict=True):
            if handle is None:
                assert offset in self.settled, "a message was passed over"
            else:
                self.hand.append(handle)

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        handles = data.draw(st.lists(st.sampled_from(self.hand), unique=True)) if self.hand else []
        assert self.book.settle(handles) == []
        self.settled.update(offset for _, _, offset in handles)
        self.hand = [handle for handle in self.hand if handle not in handles]

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def settle_too_late(self, data: st.DataObject) -> None:
        handles = data.draw(st.lists(st.sampled_from(self.stale), unique=True))
        assert self.book.settle(handles) == handles

    @rule(arrives=st.booleans())
    def commit(self, arrives: bool) -> None:
        due = self.book.due()
        if arrives and due:
            self.server = due[0].offset, due[0].metadata
            self.book.confirmed(due)
            assert self.book.due() == []

    @rule(orderly=st.booleans(), same=st.booleans())
    def hand_over(self, orderly: bool, same: bool) -> None:
        """To another consumer, or the same again; its predecessor commits before, or has died."""
        if orderly:
            self.commit(True)
        self.book.drop(["p"])
        if not same:
            self.stale, self.hand = [], []
            self.book = OffsetBook(self.room)
        self.assign()

    @precondition(lambda self: self.reads)
    @rule(data=st.data())
    def rewind(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(self.reads))
        self.place = bisect_left(self.log, offset)
        self.reads = [each for each in self.reads if each < offset]
        again = [handle for handle in self.hand if handle[2] >= offset]
        self.hand = [handle for handle in self.hand if handle[2] < offset]
        self.stale += again
        self.read(1)

    @invariant()
    def what_is_due_is_true_and_complete(self) -> None:
        if not self.log:
            return
        due = self.book.due()
        offset, metadata = (due[0].offset, due[0].metadata) if due else self.server
        if offset is None:
            assert not self.reads
            return
        runs = decode(metadata, offset)
        above = {at for at in self.log for start, end in runs if start <= at < end}
        assert all(at in self.settled for at in self.log if at < offset), "one would be lost"
        assert above <= self.settled, "one would be lost"
        assert len(metadata) <= self.room
        held = {at for _, _, at in self.hand}
        lowest = min(held, default=None)
        if lowest is not None:
            assert offset == lowest, "as far as can be"
        elif self.reads:
            assert offset > self.reads[-1], "as far as can be"
        if self.room == 4096:
            assert above >= {at for at in self.reads if at > offset} - held, "all that is settled"
        assert self.book.span("p") == len([at for at in self.reads if held and at >= min(held)])


Log.TestCase.settings = settings(deadline=None, max_examples=150, stateful_step_count=40)
TestLog = Log.TestCase
