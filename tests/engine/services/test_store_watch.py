"""What a consumer hears from the store and tells it: the watch, and the keeper of claims."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fbcli.engine.services.claim_keeper import Claiming, ClaimKeeper, give_back
from fbcli.engine.services.service import Service
from fbcli.engine.services.store_watch import StoreWatch, Watcher, retire
from fbcli.errors import FbError, Unavailable
from fbcli.stores.base import BUSY, GRANTED, ConsumerRecord, Limits, News, Store
from fbcli.stores.sqlite.backend import SqliteBackend
from tests.engine.factories import Clock
from tests.servers import wait_until


class Shaky(Store):
    """A store that can be away."""

    away = False
    asked = 0
    kept = 0

    def news(self) -> News:
        self.asked += 1
        self._look()
        return super().news()

    def retire(self, consumer_ids: Sequence[str]) -> None:
        self._look()
        super().retire(consumer_ids)

    def keep_all_claims(self, held: Any, lease: float) -> None:
        self._look()
        self.kept += 1
        super().keep_all_claims(held, lease)

    def drop_claims(self, spaces: Any, owner: str) -> None:
        self._look()
        super().drop_claims(spaces, owner)

    def _look(self) -> None:
        if self.away:
            raise Unavailable("the store is away")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Shaky]:
    with closing(Shaky(SqliteBackend(f"sqlite:///{tmp_path}/store.db", clock))) as store:
        yield store


class TestWatch:
    @pytest.fixture
    def heard(self) -> list[News]:
        return []

    @pytest.fixture
    def watch(self, store: Shaky, clock: Clock, heard: list[News]) -> StoreWatch:
        self.record = ConsumerRecord("w", "host", 4711, queue="q")
        watch = StoreWatch(store, clock)
        self.member = Watcher(lambda: self.record, [heard.append, heard.append])
        watch.join(self.member)
        return watch

    def test_all_listeners_hear_all_news(
        self, store: Shaky, clock: Clock, watch: StoreWatch, heard: list[News]
    ) -> None:
        watch.beat()
        assert heard == [News({}, {}, heard[0].cancels)] * 2
        assert not heard[0].cancels
        store.pause("q", 60)
        store.limit("q", Limits(qps=3))
        store.request_cancel(["t"], 60)
        clock.at += 10
        heard.clear()
        watch.beat()
        assert len(heard) == 2
        assert heard[0] == heard[1]
        assert heard[0].pauses == {"q": pytest.approx(50)}
        assert heard[0].limits == {"q": Limits(qps=3)}
        assert list(heard[0].cancels) == ["t"]

    def test_the_store_hears_of_the_consumer_as_long_as_it_lives(
        self, store: Shaky, clock: Clock, watch: StoreWatch
    ) -> None:
        watch.beat()
        self.record.counts.succeeded = 7
        clock.at += 5
        watch.beat()
        assert store.consumers() == [msgspec.structs.replace(self.record, beat=clock.at)]
        clock.at += StoreWatch.TTL + 1
        assert store.consumers() == []
        watch.beat()
        watch.leave(self.member)
        retire(store, "w")
        assert store.consumers() == []

    def test_many_that_begin_together_ask_once(
        self, store: Shaky, clock: Clock, watch: StoreWatch, heard: list[News]
    ) -> None:
        store.pause("q")
        for number in range(50):
            record = ConsumerRecord(f"w{number}", "host", 4711, queue="q")
            watch.first_look(Watcher(lambda record=record: record, [heard.append]))
        assert store.asked == 1
        assert len(heard) == 50
        assert all("q" in news.pauses for news in heard)
        assert len(store.consumers()) == 50

    def test_a_fault_of_one_is_not_another_s(
        self, watch: StoreWatch, heard: list[News], caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(news: News) -> None:
            raise ZeroDivisionError("nobody thought of it")

        watch.leave(self.member)
        watch.join(Watcher(lambda: self.record, [fail, heard.append]))
        watch.join(self.member)
        with caplog.at_level(logging.WARNING):
            watch.beat()
            watch.beat()
        assert len(heard) == 6
        assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1

    def test_a_store_that_is_away_keeps_nobody_from_starting_or_ending(
        self,
        store: Shaky,
        clock: Clock,
        watch: StoreWatch,
        heard: list[News],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        store.away = True
        with caplog.at_level(logging.WARNING):
            watch.first_look(self.member)
            retire(store, "w")
        assert [record.message for record in caplog.records] == ["watch: the store is away"] * 2
        assert not heard
        store.away = False
        watch.first_look(self.member)
        assert not heard, "it was asked just now, and many consumers may begin together"
        clock.at += StoreWatch.FRESH
        watch.first_look(self.member)
        assert len(heard) == 2

    def test_news_of_an_outage_come_when_it_is_over(
        self, store: Shaky, watch: StoreWatch, heard: list[News]
    ) -> None:
        store.away = True
        watch.period = 0.005
        watch.start()
        store.pause("q")
        store.away = False
        wait_until(lambda: any("q" in news.pauses for news in heard), "the news")
        watch.stop()


class TestClaimKeeper:
    LEASE = 10.0
    mine = Claiming(["s", "t"], "me")

    def claim(self, store: Shaky, space: str, owner: str) -> int:
        (answer,) = store.claim(space, ["k"], ["1"], owner=owner, lease=self.LEASE)
        return answer

    @pytest.fixture
    def keeper(self, store: Shaky) -> ClaimKeeper:
        keeper = ClaimKeeper(store, self.LEASE, period=1.0)
        keeper.join(self.mine)
        keeper.join(Claiming(["s"], "neighbour"))
        return keeper

    def test_claims_live_as_long_as_they_are_kept(
        self, store: Shaky, clock: Clock, keeper: ClaimKeeper
    ) -> None:
        for space in ("s", "t", "u"):
            assert self.claim(store, space, "me") == GRANTED
        for _ in range(5):
            clock.at += self.LEASE * 0.9
            keeper.beat()
        assert self.claim(store, "s", "other") == BUSY
        assert self.claim(store, "t", "other") == BUSY
        assert self.claim(store, "u", "other") == GRANTED, "it keeps its own spaces only"
        clock.at += self.LEASE * 1.1
        assert self.claim(store, "s", "other") == GRANTED, "its keeper has died"

    def test_those_of_all_consumers_are_kept_in_one_go(
        self, store: Shaky, clock: Clock, keeper: ClaimKeeper
    ) -> None:
        assert self.claim(store, "t", "me") == GRANTED
        assert self.claim(store, "s", "neighbour") == GRANTED
        store.kept = 0
        for _ in range(5):
            clock.at += self.LEASE * 0.9
            keeper.beat()
        assert store.kept == 5
        assert self.claim(store, "s", "other") == BUSY
        assert self.claim(store, "t", "other") == BUSY

    def test_at_the_end_all_is_given_back(self, store: Shaky) -> None:
        self.claim(store, "s", "me")
        self.claim(store, "t", "other")
        give_back(store, self.mine)
        give_back(store, self.mine)
        assert self.claim(store, "s", "third") == GRANTED
        assert self.claim(store, "t", "third") == BUSY

    def test_a_store_that_is_away_is_told_of_and_waited_for(
        self, store: Shaky, clock: Clock, keeper: ClaimKeeper, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.claim(store, "s", "me")
        store.away = True
        with pytest.raises(Unavailable):
            keeper.beat()
        with caplog.at_level(logging.WARNING):
            give_back(store, self.mine)
        assert [record.message for record in caplog.records] == ["claims: the store is away"]
        store.away = False
        clock.at += self.LEASE * 0.9
        keeper.beat()
        clock.at += self.LEASE * 0.9
        assert self.claim(store, "s", "other") == BUSY


@pytest.mark.parametrize(
    "error", [FbError("nobody thought of it"), ZeroDivisionError("nobody thought of it")]
)
def test_no_error_ends_a_service(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """A heartbeat that has ended in silence would cost the lease."""

    class Troubled(Service):
        name = "troubled"
        beats = 0

        def beat(self) -> None:
            self.beats += 1
            if self.beats < 5:
                raise error

    service = Troubled(0.001)
    with caplog.at_level(logging.WARNING):
        service.start()
        wait_until(lambda: service.beats > 10, "it to go on")
        service.stop()
    (record,) = caplog.records
    assert "nobody thought of it" in record.message
    assert bool(record.exc_info) == isinstance(error, ZeroDivisionError), (
        "where it came from, when it is ours"
    )
