"""Where the tests of the store contract stand: one place, and stores that are opened there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fbcli.stores import open_store
from fbcli.stores.base import Store


class StoreGround:
    """A store that is empty when a test begins."""

    url: Any
    unreachable_url: Any

    @pytest.fixture
    def store_url(self, request: pytest.FixtureRequest) -> str:
        return _given(self.url, "url", request)

    @pytest.fixture
    def nowhere(self, request: pytest.FixtureRequest) -> str:
        """Where no store can be reached."""
        return _given(self.unreachable_url, "unreachable_url", request)

    @pytest.fixture
    def another(self, store_url: str) -> Iterator[Callable[[], Store]]:
        """Open one more store on the same URL, as another process would."""
        opened: list[Store] = []

        def open_one() -> Store:
            opened.append(open_store(store_url))
            return opened[-1]

        yield open_one
        for store in opened:
            store.close()

    @pytest.fixture
    def store(self, another: Callable[[], Store]) -> Store:
        return another()

    @pytest.fixture
    def shared_url(self, store: Store, store_url: str) -> str:
        """The same, for another process."""
        if store.reach == "process":
            pytest.skip("it lies inside one process")
        return store_url

    @pytest.fixture
    def threads(self) -> Iterator[ThreadPoolExecutor]:
        with ThreadPoolExecutor(16) as pool:
            yield pool


def _given(value: object, name: str, request: pytest.FixtureRequest) -> str:
    url = value if isinstance(value, str) else request.getfixturevalue(name)
    assert isinstance(url, str)
    return url
