"""What every broker must do. Subclass `BrokerContract` and say where the broker is: pytest does the
rest.

    class TestMine(BrokerContract):
        url = "mine://127.0.0.1"        # or a fixture named `url`

Whatever `Broker.capabilities` admits to lacking is skipped, and nothing else. Nothing is assumed
about how soon a message arrives but "within `patience`". The tests are in `fbcli.testing.broker`,
one subject a file.
"""

from __future__ import annotations

from fbcli.testing.broker.closing import ClosingTests
from fbcli.testing.broker.delaying import DelayingTests
from fbcli.testing.broker.delivering import DeliveringTests
from fbcli.testing.broker.grouping import GroupingTests
from fbcli.testing.broker.leasing import LeasingTests
from fbcli.testing.broker.looking import LookingTests
from fbcli.testing.broker.naming import NamingTests
from fbcli.testing.broker.ordering import OrderingTests
from fbcli.testing.broker.settling import SettlingTests
from fbcli.testing.broker.sharing import SharingTests
from fbcli.testing.broker.waiting import WaitingTests


class BrokerContract(
    DeliveringTests,
    WaitingTests,
    SettlingTests,
    LookingTests,
    OrderingTests,
    DelayingTests,
    LeasingTests,
    ClosingTests,
    SharingTests,
    NamingTests,
    GroupingTests,
):
    """Every verb of `fbcli.broker`, what happens when consumers die, and when they share a
    queue."""
