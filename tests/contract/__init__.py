"""Contracts of brokers, pools and stores, as classes that a test subclasses."""

import pytest

pytest.register_assert_rewrite("tests.contract.broker_model", "tests.contract.pool_contract")
