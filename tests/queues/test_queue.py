"""A queue by name, its dead letters, and waiting for it: on every broker that needs no one's
help."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fbcli.broker import EVERYTHING, Delivery, Outgoing
from fbcli.errors import BadMessage, PartlyDone, TaskNotFound
from fbcli.message import decode, replace_extra
from fbcli.queues.dead import DeadLetters, Letter, changed, editable, edited
from fbcli.queues.envelope import Envelope
from fbcli.queues.queue import Queue
from tests.messages import letter, message, queue_in
from tests.servers import wait_until


@pytest.fixture(params=["sqlite", "redis", "redis+list"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Queue]:
    scheme = request.param
    url = (
        None
        if scheme == "sqlite"
        else request.getfixturevalue("redis_url").replace("redis:", f"{scheme}:")
    )
    with queue_in(tmp_path, broker=url) as found:
        yield found


def ids(envelopes: list[Any]) -> list[str]:
    return [envelope.task_id for envelope in envelopes]


def test_what_is_published_is_seen_in_order_and_cleared(queue: Queue) -> None:
    queue.publish([message("a", x=1), message("b", x=2), message("later", delay=60, x=3)])
    assert ids(queue.peek(10)) == ["a", "b"]
    assert ids(queue.peek(1)) == ["a"]
    size = queue.known_size()
    assert (size.ready, size.delayed) == (2, 1)
    assert queue.clear() == 3
    assert queue.peek(10) == []
    assert queue.delayed(10) == []


def test_delayed_messages_are_listed_and_cancelled(queue: Queue) -> None:
    queue.publish([message(f"d{number}", delay=60 + number, x=number) for number in range(4)])
    assert ids(queue.delayed(10)) == ["d0", "d1", "d2", "d3"]
    assert queue.count_delayed() == 4
    assert queue.cancel_delayed(["d1"]).count == 1
    done = queue.cancel_delayed(["d2", "nowhere"])
    assert (done.count, done.missing) == (1, ("nowhere",))
    with pytest.raises(PartlyDone, match="nowhere"):
        done.check()
    with pytest.raises(TaskNotFound, match=r"no delayed message of task 'dd3'.*Did you mean 'd3'"):
        queue.cancel_delayed(["dd3"])
    assert queue.cancel_delayed().count == 2
    assert queue.count_delayed() == 0


def test_take_takes_what_is_wanted_and_leaves_the_rest_in_order(queue: Queue) -> None:
    queue.publish([message(f"m{number}", x=number) for number in range(6)])
    seen: list[str] = []

    def note(chosen: list[Delivery]) -> None:
        seen.extend(Envelope(delivery.body).task_id for delivery in chosen)

    assert queue.take(lambda body: decode(body)[0]["x"] % 2 == 0, note, limit=2) == 2
    assert seen == ["m0", "m2"]
    assert sorted(ids(queue.peek(10))) == ["m1", "m3", "m4", "m5"]
    if queue.broker.capabilities.ack:
        assert ids(queue.peek(10)) == ["m1", "m3", "m4", "m5"]


def test_take_loses_nothing_when_handling_fails(queue: Queue) -> None:
    queue.publish([message(f"m{number}", x=number) for number in range(3)])

    def fail(chosen: list[Delivery]) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        queue.take(lambda body: True, fail)
    assert sorted(ids(queue.peek(10))) == ["m0", "m1", "m2"]


def test_dead_letters_are_replayed_as_good_as_new(queue: Queue) -> None:
    queue.dead.publish(
        [
            letter("old", x=1, extra={"publish_time": 1.0, "delay_until": 5.0, "retries": 2}),
            letter("b", x=2),
        ]
    )
    letters = DeadLetters(queue)
    assert letters.count() == 2
    assert letters.replay(["old"]).count == 1
    [revived] = queue.peek(10)
    assert revived.arguments == {"x": 1}
    assert revived.extra.keys() == {"task_id", "publish_time", "retries"}
    assert revived.task_id == "old"
    assert revived.published == pytest.approx(queue.clock.now(), abs=60)
    assert ids(letters.letters(10)) == ["b"]


def test_replaying_all_ends_although_a_consumer_buries_them_again(queue: Queue) -> None:
    queue.dead.publish([letter(f"d{number}", x=number) for number in range(1200)])
    letters = DeadLetters(queue)
    batches: list[int] = []

    def bury_again(count: int) -> None:
        batches.append(count)
        queue.dead.publish([letter("again", x=1)] * count)

    assert letters.replay(None, progress=bury_again).count == 1200
    assert sum(batches) == 1200
    assert len(batches) > 1
    assert queue.known_size().ready == 1200
    assert letters.count() == 1200


def test_a_replay_that_cannot_publish_loses_nothing(queue: Queue) -> None:
    queue.dead.publish([letter(f"d{number}", x=number) for number in range(3)])

    class Refusing(Queue):
        def publish(self, messages: Any) -> None:
            raise OSError("no room")

    refusing = Refusing(queue.name, queue.broker, queue.open_store)
    with pytest.raises(OSError, match="no room"):
        DeadLetters(refusing).replay(None)
    assert sorted(ids(DeadLetters(queue).letters(10))) == ["d0", "d1", "d2"]


def test_a_limit_replays_the_oldest(queue: Queue) -> None:
    queue.dead.publish([letter(f"d{number}", x=number) for number in range(5)])
    assert DeadLetters(queue).replay(None, 2).count == 2
    assert ids(queue.peek(10)) == ["d0", "d1"]


def test_dead_letters_are_found_by_their_queue_and_their_own_name(queue: Queue) -> None:
    queue.dead.publish([letter("a", x=1)])
    assert (
        ids(DeadLetters.of(queue).letters(1)) == ids(DeadLetters.of(queue.dead).letters(1)) == ["a"]
    )
    assert DeadLetters.of(queue.dead).queue.name == queue.name


def test_unknown_tasks_are_told_apart(queue: Queue) -> None:
    queue.dead.publish([letter("task-1", x=1)])
    letters = DeadLetters(queue)
    for ask in (
        letters.find,
        lambda name: letters.count([name]),
        lambda name: letters.replay([name]),
        lambda name: letters.clear([name]),
    ):
        with pytest.raises(TaskNotFound, match="no dead letter of task 'task-2'"):
            ask("task-2")
    assert letters.clear(["task-1", "task-2"]).missing == ("task-2",)
    assert letters.count() == 0


def test_find_looks_beyond_the_first_thousand(queue: Queue) -> None:
    queue.dead.publish([letter(f"d{number}", x=number) for number in range(1100)])
    assert DeadLetters(queue).find("d1099").arguments == {"x": 1099}


def test_clear_removes_all(queue: Queue) -> None:
    queue.dead.publish([letter(f"d{number}", x=number) for number in range(3)])
    queue.publish([message("alive", x=1)])
    assert DeadLetters(queue).clear(None).count == 3
    assert ids(queue.peek(10)) == ["alive"]


def test_an_edited_letter_stays_dead_until_it_is_replayed(queue: Queue) -> None:
    queue.dead.publish([letter("a", x=1, old=2)])
    letters = DeadLetters(queue)
    first = letters.find("a")
    letters.rewrite(first, changed(first, {"x": 5}, ["old"]), replay=False)
    second = letters.find("a")
    assert (second.arguments, second.reason, second.attempts) == ({"x": 5}, "boom", 4)
    with pytest.raises(TaskNotFound):  # it is not as it was any more
        letters.rewrite(first, first.body, replay=False)
    new = letters.rewrite(second, changed(second, {"x": 6}, []), replay=True)
    assert letters.count() == 0
    [alive] = queue.peek(10)
    assert alive.body == new.body
    assert (alive.arguments, "dead" in alive.extra) == ({"x": 6}, False)


def test_what_a_killed_command_had_taken_comes_back(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not queue.broker.capabilities.ack:
        pytest.skip("cannot acknowledge: what it takes is gone")
    monkeypatch.setattr("fbcli.queues.queue.LEASE", 0.2)
    queue.dead.publish([letter(f"d{number}", x=number) for number in range(3)])
    inbox = queue.broker.open(queue.dead.name, consumer_id="killed", prefetch=10, lease=0.2)
    assert len(inbox.fetch(10, 1.0)) == 3  # and never heard of again
    letters = DeadLetters(queue)
    assert letters.count() == 0
    wait_until(lambda: not letters.held(), "the lease of the killed command to run out")
    assert sorted(ids(letters.letters(10))) == ["d0", "d1", "d2"]
    inbox.close()


def test_a_revived_letter_keeps_its_priority(queue: Queue) -> None:
    if not queue.broker.capabilities.priority:
        pytest.skip("no priorities")
    queue.publish([message("ordinary", x=1)])
    queue.dead.publish([letter("urgent", x=1, extra={"priority": 9})])
    DeadLetters(queue).replay(None)
    assert ids(queue.peek(10)) == ["urgent", "ordinary"]


# envelopes and letters, without any broker


def test_every_body_can_be_opened() -> None:
    for body in (
        b"",
        b"junk \xff",
        b"[1]",
        b'{"x":1',
        b'{"x":1,"extra":5}',
        b"{}",
        b'{"x":1}',
        b"\x00" * 10,
    ):
        envelope = Envelope(body)
        assert envelope.task_id == Envelope(body).task_id
        assert envelope.task_id.startswith("body-")
        assert envelope.published is None
        assert bytes(envelope.json).startswith(b"{")
        assert bool(envelope.fault) == (body not in (b"{}", b'{"x":1}'))


def test_json_is_one_line_and_keeps_numbers() -> None:
    assert (
        bytes(Envelope(b'{"x": 12345678901234567890123,\n "y": "a\\nb"}').json)
        == b'{"x":12345678901234567890123,"y":"a\\nb"}'
    )


def test_hostile_extras_do_no_harm() -> None:
    body = (
        b'{"extra":{"task_id":[1],"publish_time":"soon",'
        b'"dead":{"time":true,"attempts":"many","reason":{"a":1}}}}'
    )
    hostile = Letter(body)
    assert (hostile.published, hostile.died, hostile.attempts) == (None, None, None)
    assert hostile.reason == "{'a': 1}"
    assert Letter(b'{"extra":{"dead":7}}').details == {}
    for huge in (b"1e308", b"-1e308", b"1" * 400):
        assert Envelope(b'{"extra":{"publish_time":' + huge + b"}}").published is None


def test_what_never_was_a_message_goes_back_as_it_came() -> None:
    fault = Envelope(b"junk").fault
    wrapped = Letter(replace_extra(b"junk", {"dead": {"reason": fault}, "task_id": "a"}))
    assert wrapped.revived(1.0) == b"junk"
    real = Letter(letter("a", raw="junk").body)  # a function with a parameter called raw
    assert decode(real.revived(1.0)) == ({"raw": "junk"}, {"task_id": "a", "publish_time": 1.0})
    assert Letter(b"junk").revived(1.0) == b"junk"


def test_a_person_edits_the_message_and_not_its_details() -> None:
    dead = Letter(letter("a", x=1).body)
    text = editable(dead)
    assert b"dead" not in text
    assert b"\n" in text
    again = Letter(edited(dead, text.replace(b'"x": 1', b'"x": 2')))
    assert (again.arguments, again.details) == ({"x": 2}, dead.details)
    for wrong in (b"", b"[]", b"{", b'{"extra": 1}', b'{"x": ' + b"[" * 70 + b"]" * 70 + b"}"):
        with pytest.raises(BadMessage):
            edited(dead, wrong)


def test_a_limit_of_everything_fits_every_broker(queue: Queue) -> None:
    queue.publish([Outgoing(b'{"x":1}')])
    assert len(queue.peek(EVERYTHING)) == 1
    assert queue.delayed(EVERYTHING) == []
