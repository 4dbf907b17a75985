"""The memory broker beyond the contract."""

from __future__ import annotations

from typing import cast

from hypothesis import HealthCheck, settings

from fbcli.broker import Broker, Inbox
from fbcli.brokers.memory import MemoryBroker, MemoryInbox
from fbcli.testing import BrokerContract
from tests.contract.broker_model import LONG, BrokerModel


class TestMemory(BrokerContract):
    spares_held = True
    url = "memory://"


class MemoryModel(BrokerModel):
    keeps_place = True

    def open_broker(self) -> Broker:
        return MemoryBroker("memory://")

    def expire(self, inbox: Inbox) -> None:
        cast(MemoryInbox, inbox).last_beat -= 2 * LONG


TestMemoryModel = MemoryModel.TestCase
TestMemoryModel.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
