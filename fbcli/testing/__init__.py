"""What an adapter of a third party is tested with: subclass a contract class, say where your system
is, and pytest runs every test of the contract against it.

    from fbcli.testing import BrokerContract

    class TestMine(BrokerContract):
        url = "mine://127.0.0.1"

The only part of fbcli that needs pytest.
"""

from __future__ import annotations

import pytest

# before they are imported: so a failed assertion says what was compared
pytest.register_assert_rewrite("fbcli.testing.broker", "fbcli.testing.store")

from fbcli.testing.broker_contract import BrokerContract  # noqa: E402
from fbcli.testing.store_contract import StoreContract  # noqa: E402

__all__ = ["BrokerContract", "StoreContract"]
