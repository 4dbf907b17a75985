"""The SQLite broker beyond the contract: processes, their sudden end, full disks, and files that are not what they should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.broker_contract import BrokerContract


class TestSqlite(BrokerContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/queue.db"
