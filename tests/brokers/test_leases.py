"""What a process that keeps leases is made of."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from fbcli.broker_registry import open_broker
from fbcli.testing.broker.beating import beating

HEAVY = {"redis", "msgspec", "pydantic", "typer", "rich", "asyncio", "hashlib", "ssl", "inspect"}


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_it_imports_next_to_nothing(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """It may run beside each consumer of a machine."""
    url = f"sqlite:///{tmp_path}/q.db" if kind == "sqlite" else request.getfixturevalue("redis_url")
    with (
        closing(open_broker(url)) as broker,
        closing(broker.open("q", consumer_id="c", prefetch=1, lease=60)) as inbox,
    ):
        beat = inbox.beat()
        assert beat is not None
        with beating([beat]) as extend:
            modules = extend()
    assert not modules & HEAVY
    assert len(modules) < 200
