"""The poorest of brokers against the contract: bare, and with all that is made up for above it."""

from __future__ import annotations

from typing import cast

import pytest

from fbcli.broker import Inbox
from fbcli.broker_registry import register_broker
from fbcli.emulation.inbox import EmulatedInbox
from fbcli.testing import BrokerContract
from tests.contract.minimal import MinimalBroker, MinimalInbox


@pytest.fixture(autouse=True, scope="module")
def registered() -> None:
    register_broker("minimal", MinimalBroker)


class TestMinimal(BrokerContract):
    url = "minimal://bare"

    def sever(self, inbox: Inbox) -> None:
        cast(MinimalInbox, inbox).sever()


class TestEmulated(BrokerContract):
    url = "minimal://emulated"
    emulated = True

    def sever(self, inbox: Inbox) -> None:
        cast(MinimalInbox, cast(EmulatedInbox, inbox).inner).sever()
