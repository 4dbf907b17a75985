"""Services that consumers share: one thread for all of a kind, the trouble of one is not another's,
and who has left is left alone."""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Sequence

import pytest

from fbcli.engine.services.shared import Duty, Rounds, Services, SharedService, process_services
from fbcli.errors import Unavailable
from tests.servers import wait_until


class Counter:
    """A duty that counts how often it was done."""

    name = "counter"

    def __init__(self) -> None:
        self.beats = 0

    def beat(self) -> float | None:
        self.beats += 1
        return None


class Failing(Counter):
    def beat(self) -> float | None:
        super().beat()
        raise Unavailable("it is away")


class Counted(Rounds):
    name = "counted"


def rounds() -> Rounds:
    return Counted(0.001)


def living() -> int:
    return sum(thread.name == "fb-counted" for thread in threading.enumerate())


def test_one_thread_does_it_for_all_and_ends_with_the_last() -> None:
    services = Services()
    counters = [Counter() for _ in range(50)]
    memberships = [services.join("k", rounds, counter) for counter in counters]
    wait_until(lambda: all(counter.beats > 2 for counter in counters), "all to be served")
    assert living() == 1
    for membership in memberships[1:]:
        membership.leave()
    assert living() == 1
    memberships[0].leave()
    memberships[0].leave()
    assert living() == 0
    again = Counter()
    joined = services.join("k", rounds, again)
    wait_until(lambda: again.beats > 0, "another one to begin")
    joined.leave()
    assert living() == 0


def test_what_talks_to_different_servers_shares_no_thread() -> None:
    services, stuck, free = Services(), threading.Event(), Counter()

    class Stuck(Counter):
        def beat(self) -> float | None:
            stuck.wait(30)
            return super().beat()

    slow = services.join("one server", rounds, Stuck())
    quick = services.join("another", rounds, free)
    wait_until(lambda: free.beats > 5, "the other one to go on")
    stuck.set()
    slow.leave()
    quick.leave()


def test_after_it_has_left_nothing_is_done_for_it() -> None:
    services, begun, go_on = Services(), threading.Event(), threading.Event()
    ended = []

    class Slow(Counter):
        def beat(self) -> float | None:
            begun.set()
            go_on.wait(30)
            ended.append(True)
            return None

    other = services.join("k", rounds, Counter())
    leaving = services.join("k", rounds, Slow())
    assert begun.wait(30)
    threading.Timer(0.05, go_on.set).start()
    leaving.leave()
    count = len(ended)
    assert count, "it has waited for what was being done"
    beats = Counter()
    third = services.join("k", rounds, beats)
    wait_until(lambda: beats.beats > 3, "some rounds")
    assert len(ended) == count
    other.leave()
    third.leave()


def test_the_trouble_of_one_is_told_once_and_is_not_another_s(
    caplog: pytest.LogCaptureFixture,
) -> None:
    services, failing, well = Services(), Failing(), Counter()
    with caplog.at_level(logging.WARNING):
        memberships = [services.join("k", rounds, duty) for duty in (failing, well)]
        wait_until(lambda: well.beats > 10 and failing.beats > 10, "both to go on")
        for membership in memberships:
            membership.leave()
    assert [record.message for record in caplog.records] == ["counter: it is away"]


def test_it_is_asked_again_as_soon_as_any_member_wants() -> None:
    class Eager(Counter):
        def beat(self) -> float | None:
            super().beat()
            return 0.001

    services, eager, calm = Services(), Eager(), Counter()
    memberships = [services.join("k", lambda: Rounds(3600.0), duty) for duty in (eager, calm)]
    wait_until(lambda: eager.beats > 10, "it to be asked again")
    for membership in memberships:
        membership.leave()


def test_a_storm_of_joins_and_leaves() -> None:
    services = Services()

    def storm(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(100):
            counter: Duty = Counter()
            membership = services.join(chance.choice("ab"), rounds, counter)
            if chance.random() < 0.5:
                membership.service.wait()
            membership.leave()

    threads = [threading.Thread(target=storm, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: living() == 0, "all threads to have ended")


def test_members_are_served_together() -> None:
    seen: list[Sequence[str]] = []

    class Together(SharedService[str]):
        name = "together"

        def attend(self, members: Sequence[str]) -> None:
            seen.append(members)

    services = Services()
    memberships = [services.join("k", lambda: Together(0.001), name) for name in ("a", "b")]
    wait_until(lambda: ("a", "b") in seen, "both at once")
    for membership in memberships:
        membership.leave()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_fork_begins_with_services_of_its_own() -> None:
    ours = process_services()
    assert process_services() is ours
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writer, b"same" if process_services() is ours else b"own ")
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 4) == b"own "
    os.close(reader)
    os.close(writer)
