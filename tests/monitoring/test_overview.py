"""All queues at a glance, and what keeps them from being worked on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fbcli.errors import Unsupported
from fbcli.monitoring.overview import obstacles, overview
from fbcli.queues.lookup import find_queue, nearby
from fbcli.settings import Settings
from fbcli.stores.base import ConsumerRecord
from tests.messages import letter, message, settings_in


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Settings]:
    with settings_in(tmp_path) as settings:
        busy = find_queue("busy", settings)
        busy.publish([message("a", x=1), message("b", x=2), message("c", delay=60, x=3)])
        find_queue("sick", settings).dead.publish([letter("d", x=1)])
        store = settings.open_store()
        store.pause("held", 60)
        store.pause("busy")
        for n, queue in enumerate(("idle", "idle", "busy", "busy")):
            record = ConsumerRecord(f"w{n}", queue=queue, per_second=0.5 + n)
            store.beat([record], ttl=60)
        yield settings


def test_all_queues_at_a_glance(filled: Settings) -> None:
    rows = {row.queue: row for row in overview(filled)}
    assert list(rows) == ["busy", "held", "idle", "sick"]
    busy = rows["busy"]
    assert (busy.ready, busy.in_flight, busy.delayed, busy.dead, busy.consumers) == (2, 0, 1, 0, 2)
    assert (busy.paused, busy.resumes_in) == (True, None)
    assert rows["held"].paused
    assert rows["held"].resumes_in == pytest.approx(60, abs=20)
    assert (rows["sick"].ready, rows["sick"].dead, rows["sick"].paused) == (0, 1, False)
    assert (rows["idle"].consumers, rows["idle"].per_second) == (2, 2.0)
    assert (busy.per_second, rows["sick"].per_second) == (6.0, 0.0)


def test_only_those_that_are_named(filled: Settings) -> None:
    assert [(row.queue, row.ready) for row in overview(filled, ["nothing", "busy", "busy"])] == [
        ("busy", 2),
        ("nothing", 0),
    ]


def test_configured_queues_are_shown_when_asked(tmp_path: Path) -> None:
    (tmp_path / "fb.toml").write_text(
        '[tasks."mymod:task"]\nqps = 5\n[tasks."mymod:other"]\nqueue = "q"\n'
    )
    with settings_in(tmp_path) as settings:
        assert overview(settings) == []
        assert [row.queue for row in overview(settings, configured=True)] == ["mymod.task", "q"]


def test_a_broker_that_cannot_list_is_asked_for_names_only(
    filled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = filled.open_broker()
    monkeypatch.setattr(
        broker, "capabilities", msgspec.structs.replace(broker.capabilities, queues=False)
    )
    with pytest.raises(Unsupported, match="cannot list its queues"):
        overview(filled)
    assert [row.ready for row in overview(filled, ["busy"])] == [2]
    assert nearby(find_queue("bussy", filled)) == ""


def test_what_keeps_a_queue_from_being_worked_on(filled: Settings) -> None:
    store = filled.open_store()
    assert obstacles([find_queue("bussy", filled)]) == ["bussy holds nothing. Did you mean 'busy'?"]
    assert obstacles([find_queue("busy", filled)]) == [
        "busy is paused; `fb resume busy` ends that."
    ]
    store.resume("busy")
    assert obstacles([find_queue("busy", filled)]) == []
    store.retire(["w2", "w3"])
    assert obstacles([find_queue("busy", filled)]) == [
        "busy has no consumer; `fb consume ADDRESS` starts one."
    ]
