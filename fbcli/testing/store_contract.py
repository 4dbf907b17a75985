"""What every store must do. Subclass `StoreContract`, say where the store is: pytest does the rest.

    class TestMine(StoreContract):
        url = "mine://127.0.0.1/contract"     # or a fixture named `url`; empty when a test begins
        unreachable_url = "mine://127.0.0.1:1"

Expiry is tested in real time with short spans, since it is the store's own clock that counts;
everything else waits for conditions. The tests are in `fbcli.testing.store`, one subject a file.
"""

from __future__ import annotations

from fbcli.testing.store.claims import ClaimTests
from fbcli.testing.store.counters import CounterTests
from fbcli.testing.store.itself import StoreItselfTests
from fbcli.testing.store.limits import LimitTests
from fbcli.testing.store.parking import ParkingTests
from fbcli.testing.store.pauses import ConsumerTests, PauseTests
from fbcli.testing.store.rates import RateTests
from fbcli.testing.store.results import ResultTests


class StoreContract(
    PauseTests,
    LimitTests,
    ConsumerTests,
    ResultTests,
    ClaimTests,
    RateTests,
    ParkingTests,
    CounterTests,
    StoreItselfTests,
):
    """Every verb of `fbcli.stores.base`, its expiry, its concurrency, and what happens when the
    store cannot be reached."""
