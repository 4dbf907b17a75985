"""What every store must do about the limits of live consumers, and cancelled tasks."""

from __future__ import annotations

from collections.abc import Callable

from fbcli.stores.base import Limits, News, Store
from fbcli.testing.store.ground import StoreGround
from fbcli.testing.store.samples import STRANGE
from fbcli.testing.waiting import wait_until


class LimitTests(StoreGround):
    # limits
    def test_nothing_is_limited_at_first(self, store: Store) -> None:
        assert store.limits() == {}
        assert store.unlimit("q") is False

    def test_limits_hold_until_lifted(self, store: Store, another: Callable[[], Store]) -> None:
        store.limit("q", Limits(qps=0.5, qps_scope="cluster", concurrency=7))
        store.limit(STRANGE, Limits(concurrency="auto"))
        store.limit("none", Limits())
        assert another().limits() == {
            "q": Limits(qps=0.5, qps_scope="cluster", concurrency=7),
            STRANGE: Limits(concurrency="auto"),
            "none": Limits(),
        }
        assert another().unlimit("q") is True
        assert store.unlimit("q") is False
        assert set(store.limits()) == {STRANGE, "none"}

    def test_later_limits_replace_the_earlier(self, store: Store) -> None:
        store.limit("q", Limits(qps=5, concurrency=3))
        store.limit("q", Limits(qps=0))
        assert store.limits() == {"q": Limits(qps=0)}

    # cancels
    def test_cancels_are_known_until_they_are_served(
        self, store: Store, another: Callable[[], Store]
    ) -> None:
        assert set(store.cancels()) == set()
        store.request_cancel(["a", "b", STRANGE], 60)
        store.request_cancel(["c", "a"], 60)
        assert sorted(another().cancels()) == sorted(["a", "b", "c", STRANGE])
        another().end_cancels(["a", STRANGE, "unheard-of"])
        assert sorted(store.cancels()) == ["b", "c"]
        store.end_cancels([])
        store.request_cancel([], 60)
        assert sorted(store.cancels()) == ["b", "c"]

    def test_a_cancel_is_forgotten_after_its_ttl(self, store: Store) -> None:
        store.request_cancel(["prolonged"], 0.9)
        store.request_cancel(["brief"], 1)
        store.request_cancel(["kept", "prolonged"], 60)
        store.request_cancel(["never"], 0)
        assert set(store.cancels()) == {"brief", "kept", "prolonged"}
        wait_until(
            lambda: set(store.cancels()) == {"kept", "prolonged"}, "the cancel to be forgotten"
        )

    def test_many_cancels(self, store: Store) -> None:
        store.request_cancel([f"{n}" for n in range(5000)], 60)
        assert len(store.cancels()) == 5000
        store.end_cancels([f"{n}" for n in range(1, 5000)])
        assert set(store.cancels()) == {"0"}

    # news
    def test_no_news(self, store: Store) -> None:
        pauses, limits, cancels = store.news()
        assert (pauses, limits, set(cancels)) == ({}, {}, set())

    def test_news_are_all_that_is_set(self, store: Store, another: Callable[[], Store]) -> None:
        store.pause("p")
        store.pause("timed", 30)
        store.pause("ended", 0)
        store.limit("q", Limits(qps=3))
        store.request_cancel(["a", "b"], 60)
        store.request_cancel(["ended"], 0)
        news = another().news()
        assert isinstance(news, News)
        assert set(news.pauses) == {"p", "timed"}
        assert news.pauses["p"] is None
        assert 20 < (news.pauses["timed"] or 0) <= 30
        assert news.limits == {"q": Limits(qps=3)}
        assert set(news.cancels) == {"a", "b"}
