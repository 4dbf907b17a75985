"""Finding queues by name and by address."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fbcli.broker import Outgoing
from fbcli.errors import AddressNotFound, UsageError
from fbcli.queues.lookup import find_queue, nearby
from fbcli.settings import Settings
from tests.messages import letter, message, settings_in

MODULE = """\
print("imported")
from fbcli import boost
import functools

NAME = "computed"

def plain(x): ...

@boost
def bare(x): ...

@boost(qps=5)
def rated(x): ...

@boost(queue="orders", qps=NAME)
def named(x): ...

@boost(queue=NAME)
def computed(x): ...

@boost(**{"queue": "starred"})
def starred(x): ...

@functools.lru_cache
@boost(queue="hidden")
def cached(x): ...

assigned = boost(plain)

class Jobs:
    @staticmethod
    @boost(queue="static")
    def run(x): ...
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"queues_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


def named(text: str, folder: Path) -> str:
    with settings_in(folder) as settings:
        return find_queue(text, settings).name


@pytest.mark.parametrize(
    ("function", "queue"),
    [("rated", ""), ("plain", ""), ("bare", ""), ("named", "orders"), ("Jobs.run", "static")],
)
def test_an_address_leads_to_its_queue_without_importing(
    tmp_path: Path, module: str, function: str, queue: str
) -> None:
    assert named(f"{module}:{function}", tmp_path) == (queue or f"{module}.{function}")
    assert named(f"{module}.py:{function}", tmp_path) == (queue or f"{module}.{function}")
    assert module not in sys.modules


@pytest.mark.parametrize(
    ("function", "queue"), [("computed", "computed"), ("starred", "starred"), ("assigned", "")]
)
def test_it_is_imported_where_the_source_does_not_tell(
    tmp_path: Path, module: str, function: str, queue: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert named(f"{module}:{function}", tmp_path) == (queue or f"{module}.{function}")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "imported\n")


def test_without_importing_the_default_name_must_do(tmp_path: Path, module: str) -> None:
    with settings_in(tmp_path) as settings:
        assert (
            find_queue(f"{module}:computed", settings, importing=False).name == f"{module}.computed"
        )
    assert module not in sys.modules


def test_fb_toml_names_queue_and_broker(tmp_path: Path, module: str) -> None:
    (tmp_path / "fb.toml").write_text(
        f'[tasks."{module}:plain"]\nqueue = "toml.q"\nbroker = "sqlite:///other.db"\n'
    )
    with settings_in(tmp_path) as settings:
        queue = find_queue(f"{module}:plain", settings)
        assert (queue.name, queue.broker.url) == ("toml.q", f"sqlite:///{tmp_path / 'other.db'}")
        queue.broker.close()


def test_names_stay_names(tmp_path: Path) -> None:
    assert named("orders", tmp_path) == "orders"
    assert named("mymod.task", tmp_path) == "mymod.task"
    assert named("nowhere_at_all:task", tmp_path) == "nowhere_at_all.task"


@pytest.mark.parametrize("name", ["app:orders", "a:b:c", "queue:x"])
def test_a_name_with_a_colon_that_the_broker_knows_is_one(tmp_path: Path, name: str) -> None:
    with settings_in(tmp_path) as settings:
        settings.open_broker().publish(name, [message(x=1)])
        assert find_queue(name, settings).name == name


def test_what_is_neither_is_refused(tmp_path: Path, module: str) -> None:
    for text in ("", "a:b:c", ":x", "x:", f"{module}:no such"):
        with pytest.raises(UsageError):
            named(text, tmp_path)
    with pytest.raises(AddressNotFound, match="nosuch"):
        named(f"{module}:nosuch", tmp_path)


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Settings]:
    with settings_in(tmp_path) as settings:
        find_queue("busy", settings).publish([message("a", x=1)])
        find_queue("sick", settings).dead.publish([letter("d", x=1)])
        yield settings


def test_queues_of_one_module_are_not_alike_for_that(filled: Settings) -> None:
    filled.open_broker().publish("mymod.fails", [Outgoing(b"{}")])
    filled.open_broker().publish("mymod.fetch_all", [Outgoing(b"{}")])
    assert nearby(find_queue("mymod.task", filled)) == ""
    assert nearby(find_queue("mymod.fetchall", filled)) == " Did you mean 'mymod.fetch_all'?"
    assert nearby(find_queue("mymood.fails", filled)) == " Did you mean 'mymod.fails'?"


def test_hints(filled: Settings) -> None:
    assert nearby(find_queue("bussy", filled)) == " Did you mean 'busy'?"
    assert nearby(find_queue("sik", filled)) == " Did you mean 'sick'?"
