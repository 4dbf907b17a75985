"""The store contract in memory, which nothing keeps from being reached."""

from __future__ import annotations

import itertools
import uuid

import pytest
from hypothesis import given, settings

from fbcli.stores import open_store
from fbcli.stores.base import Store, Writes
from fbcli.stores.memory import MemoryBackend
from fbcli.testing import StoreContract
from fbcli.testing.store.claims_model import Step, compare, steps
from fbcli.testing.store.samples import a_record, a_result
from tests.contract.test_sqlite_store import Hands


class TestMemoryStore(StoreContract):
    unreachable_url = "memory://anywhere"

    @pytest.fixture
    def url(self) -> str:
        return f"memory://{uuid.uuid4().hex}"

    test_an_unreachable_store_says_so = None  # type: ignore[assignment]
    """It is always there."""

    def test_it_is_gone_with_the_last_that_has_it(self, url: str) -> None:
        one, two = open_store(url), open_store(url)
        one.pause("q")
        del one
        assert two.pauses() == {"q": None}
        del two
        assert open_store(url).pauses() == {}

    def test_claims_end_as_in_the_model(self, url: str) -> None:
        clock, suffixes = Hands(), itertools.count()
        store = Store(MemoryBackend(url, clock))

        @settings(max_examples=100, deadline=None)
        @given(steps(spans=(0, 3, 10, 1000), waits=(1, 2, 5, 12)))
        def check(script: list[Step]) -> None:
            compare(store, script, f" {next(suffixes)}", clock.wait)

        check()

    def test_what_has_ended_is_removed(self, url: str) -> None:
        clock = Hands()
        store = Store(MemoryBackend(url, clock))
        keys = [f"{n}" for n in range(500)]
        store.save_results([a_result(key) for key in keys], 60)
        store.save_results([a_result("0")], 3600)
        store.beat([a_record()], 60)
        store.take_tokens("k", 10, 1, ahead=0, slack=0)
        store.claim("s", ["a"], ["1"], owner="o", lease=60)
        store.write(Writes().mark("t", keys, keys, owner="o", ttl=60))
        clock.time += 71
        while store.sweep([], 100):
            pass
        place = store.backend._place  # type: ignore[attr-defined]
        assert list(place.results) == ["0"]
        assert (place.spaces, place.grids, place.notices) == ({}, {}, {"consumers": {}})
