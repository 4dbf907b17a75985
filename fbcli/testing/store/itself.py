"""What holds for a store as a whole: several write at once, and it is not there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from fbcli.errors import Unavailable
from fbcli.stores import open_store
from fbcli.stores.base import Store
from fbcli.testing.store.ground import StoreGround
from fbcli.testing.store.samples import EVERY_VERB, a_record, a_result


class StoreItselfTests(StoreGround):
    def test_many_write_at_once(
        self, store: Store, another: Callable[[], Store], threads: ThreadPoolExecutor
    ) -> None:
        stores = [store, store, another(), another()]
        start = threading.Barrier(len(stores))

        def work(n: int) -> None:
            start.wait(10)
            for i in range(20):
                stores[n].save_results([a_result(f"{n}-{i}-{k}") for k in range(5)], 60)
                stores[n].beat([a_record(str(n))], 60)
                stores[n].pause(str(n))

        list(threads.map(work, range(len(stores))))
        assert len(store.results(limit=1000)) == 400
        assert len(store.consumers()) == 4
        assert len(store.pauses()) == 4

    def test_opening_one_does_not_connect(self, nowhere: str) -> None:
        store = open_store(nowhere)
        assert store.url == nowhere
        store.close()

    def test_closing_twice_is_closing_once(self, store: Store) -> None:
        store.pause("q")
        store.close()
        store.close()

    @pytest.mark.parametrize("verb", EVERY_VERB)
    def test_an_unreachable_store_says_so(self, nowhere: str, verb: str) -> None:
        store = open_store(nowhere)
        try:
            with pytest.raises(Unavailable) as caught:
                EVERY_VERB[verb](store)
            assert len(str(caught.value)) > 20
            assert "secret" not in str(caught.value)
        finally:
            store.close()
