"""The memory broker beyond the contract."""

from __future__ import annotations

from tests.contract.broker_contract import BrokerContract


class TestMemory(BrokerContract):
    url = "memory://"
