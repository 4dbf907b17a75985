"""How stores are found by their URL, and which one goes with a broker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fbcli import stores
from fbcli.errors import UsageError
from fbcli.stores import SCHEMES, open_store, register_store, store_beside
from fbcli.stores.base import Store
from fbcli.stores.memory import MemoryBackend


@pytest.mark.parametrize(
    ("url", "hint"), [("redsi://h", "'redis'"), ("sqlit:///x", "'sqlite'"), ("zzz://", "")]
)
def test_an_unknown_scheme(url: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"No store answers to .*{hint}.*sqlite"):
        open_store(url)


@pytest.mark.parametrize("url", ["", "store.db", "redis", "/var/store.db"])
def test_no_url(url: str) -> None:
    with pytest.raises(UsageError, match="not a store URL"):
        open_store(url)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://host/x.db"])
def test_a_url_without_a_file(url: str) -> None:
    with pytest.raises(UsageError):
        open_store(url)


def test_every_scheme_of_the_table_opens(tmp_path: Path) -> None:
    for scheme in SCHEMES:
        store = open_store(f"{scheme}:///{tmp_path}/s.db")
        assert isinstance(store, Store)
        store.close()


def test_looking_at_the_table_imports_no_store() -> None:
    code = (
        "import sys, fbcli.stores; print([m for m in sys.modules if m in ('redis', 'sqlite3',"
        " 'msgspec')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_store_of_ones_own_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_registered", {})

    class Mine(MemoryBackend):
        pass

    register_store("mine", Mine)
    assert isinstance(open_store("mine://x").backend, Mine)
    assert store_beside("mine://x", Path("/folder")) == "mine://x"
    assert "mine" in stores.schemes()


@pytest.mark.parametrize(
    ("broker", "store"),
    [
        ("redis://:secret@h:1/2", "redis://:secret@h:1/2"),
        ("redis+list://h/0", "redis+list://h/0"),
        ("redis+cluster://h", "redis+cluster://h"),
        ("memory://x", "memory://x"),
        ("sqlite:////var/q.db", "sqlite:////var/q.store.db"),
        ("sqlite:////var/q", "sqlite:////var/q.store"),
        ("sqlite:////var.d/q", "sqlite:////var.d/q.store"),
        ("amqp://h", "sqlite:////folder/store.db"),
    ],
)
def test_the_store_that_goes_with_a_broker(broker: str, store: str) -> None:
    assert store_beside(broker, Path("/folder")) == store
