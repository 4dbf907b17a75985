"""A batch of which some messages got in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from fbcli.arguments.records import Record
from fbcli.broker import Outgoing
from fbcli.brokers.memory import MemoryBroker
from fbcli.errors import PartlyPublished, Unavailable
from fbcli.message import encode
from fbcli.pushing.feed import Feed
from fbcli.queues.queue import Queue
from fbcli.queues.unique import publish_unique
from fbcli.stores import open_store


def test_a_feed_says_how_much_got_in() -> None:
    def publish(batch: Sequence[Outgoing]) -> None:
        raise PartlyPublished("The broker is away.", [0, 1])

    feed = Feed(lambda arguments: Outgoing(encode(arguments, {})), publish)
    with pytest.raises(Unavailable) as caught:
        feed.run([Record(f"line {i}", {"x": i}, None) for i in range(5)])
    assert str(caught.value) == (
        "The broker is away. 2 messages were pushed before that; of the next 3 some may have been."
    )
    assert feed.pushed == 2


def test_a_unique_one_that_got_in_keeps_its_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, store = MemoryBroker("memory://"), open_store(f"sqlite:///{tmp_path}/store.db")
    queue = Queue("q", broker, lambda: store)
    batch = [
        Outgoing(encode({"x": i}, {"task_id": f"id {i}", "unique": f"key {i}"})) for i in range(4)
    ]
    publish = broker.publish

    def half(name: str, messages: Sequence[Outgoing]) -> None:
        publish(name, messages[:2])
        raise PartlyPublished("The broker is away.", [0, 1])

    with monkeypatch.context() as patch:
        patch.setattr(broker, "publish", half)
        with pytest.raises(PartlyPublished):
            publish_unique(queue, batch)
    fresh, repeated = publish_unique(queue, batch)
    assert (fresh, repeated) == (batch[2:], batch[:2])
    assert len(broker.peek("q", 9)) == 4
    store.close()
