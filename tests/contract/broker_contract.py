"""What every broker must do. Subclass `BrokerContract` and say where the broker is: pytest does the
rest.

    class TestMine(BrokerContract):
        url = "mine://127.0.0.1"        # or a fixture named `url`

Whatever `Broker.capabilities` admits to lacking is skipped, and nothing else. Nothing is assumed
about how soon a message arrives but "within `patience`". The tests are in `tests.contract.broker`,
one subject a file.
"""

from __future__ import annotations

from tests.contract.broker.closing import Closing
from tests.contract.broker.delaying import Delaying
from tests.contract.broker.delivering import Delivering
from tests.contract.broker.leasing import Leasing
from tests.contract.broker.looking import Looking
from tests.contract.broker.ordering import Ordering
from tests.contract.broker.settling import Settling
from tests.contract.broker.sharing import Sharing
from tests.contract.broker.waiting import Waiting


class BrokerContract(
    Delivering, Waiting, Settling, Looking, Ordering, Delaying, Leasing, Closing, Sharing
):
    """Every verb of `fbcli.broker`, what happens when consumers die, and when they share a
    queue."""
