"""What is said of limits: those that are set, and those that consumers report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fbcli.monitoring.limits import Force, limited
from fbcli.stores import open_store
from fbcli.stores.base import ConsumerRecord, Limits, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(f"sqlite:///{tmp_path}/store.db")) as store:
        yield store


def test_all_that_have_limits_are_listed(store: Store) -> None:
    assert limited(store) == []
    store.limit("b", Limits(qps=3))
    store.limit("a", Limits(concurrency=2))
    store.beat([ConsumerRecord("w", queue="c")], 60)
    assert [(each.queue, each.limits.qps, each.consumers) for each in limited(store)] == [
        ("a", None, 0),
        ("b", 3, 0),
    ]
    assert [each.queue for each in limited(store, ["c", "d"])] == ["c", "d"]


def test_what_consumers_go_by_is_told_once_where_they_agree(store: Store) -> None:
    both = {"queue": "q", "qps": 2.0, "qps_scope": "cluster", "concurrency": 4}
    store.beat([ConsumerRecord("v", **both), ConsumerRecord("w", **both)], 60)
    (row,) = limited(store, ["q"])
    assert (row.limits, row.in_force, row.consumers) == (Limits(), [Force(2.0, "cluster", 4)], 2)
    store.beat([ConsumerRecord("w", queue="q", concurrency=1)], 60)
    (row,) = limited(store, ["q"])
    assert row.in_force == [Force(2.0, "cluster", 4), Force(None, "process", 1)]
