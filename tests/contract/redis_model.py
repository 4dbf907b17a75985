"""The broker contract's model on a real Redis, where a lease is ended by a write to the server."""

from __future__ import annotations

from typing import cast

import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from fbcli.broker import Broker, Inbox
from fbcli.broker_registry import open_broker
from fbcli.brokers.redis.inbox import RedisInbox
from fbcli.brokers.redis.plain_list import RedisListInbox
from fbcli.stores import open_store
from fbcli.stores.base import Store
from tests.contract.broker_model import QUEUE, BrokerModel


def run_model(url: str) -> None:
    """Try the broker at `url`, whose database nobody else uses: it is emptied for each example."""

    class RedisModel(BrokerModel):
        counts_anew = True

        def open_broker(self) -> Broker:
            self.client = redis.Redis.from_url(url.replace("redis+list://", "redis://"))
            self.client.flushdb()
            return open_broker(url)

        def open_store(self) -> Store:
            return open_store(url)

        def expire(self, inbox: Inbox) -> None:
            owner = cast(RedisInbox, inbox).owner
            self.client.zadd(f"fb:{{{QUEUE}}}:owners", {owner: 1}, xx=True)

        def abandon(self, inbox: Inbox) -> None:
            """Hang up without a word."""
            dying = cast(RedisListInbox, inbox)
            dying._closed = True
            dying._blocked.drop()
            dying._waker.close()

        def teardown(self) -> None:
            super().teardown()
            self.client.close()

    checks = settings(
        max_examples=100,
        stateful_step_count=40,
        phases=[Phase.generate],  # a shrunken example takes many minutes
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(RedisModel, settings=checks)
