"""The arithmetic of a trial: from what was written down to what was lost, what ran twice and why,
and how soon it was back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from math import ceil
from operator import itemgetter

import msgspec

from fbcli.chaos.ledger import BrokerOutage, Evidence, Execution, Kill
from fbcli.chaos.plan import END, KILLER, POISON, TrialTask

SETTLING = 1.0
"""Seconds that an outcome may take from the end of the call to the broker (on a busy machine):
until then it is in flight."""

RETURN_SECONDS = 6.0
"""Seconds that a consumer may take to find a broker that is back: it tries again every five at the
least. Until then nothing reaches it."""

KILL_SECONDS = 0.5
"""Seconds that a kill may take: a call that began so soon after it was decided was hit by it, too.
"""

MOST_NAMED = 20
"""Of the tasks that something is wrong with, so many are named."""


class Recovery(msgspec.Struct):
    """Of the calls that were running when their process was killed: seconds from the kill until the
    task began again."""

    calls: int = 0
    again: int = 0
    """How many of them began again."""
    p50: float | None = None
    p99: float | None = None
    max: float | None = None


class Duplicates(msgspec.Struct):
    """Tasks of which more than one call ended, by the reason of the further ones."""

    killed: int = 0
    """The consumer was killed before the broker knew that the call had ended."""
    outage: int = 0
    """The broker was away when the call ended."""
    pushed_twice: int = 0
    """The confirmation of a push had not been seen, so it was pushed again."""
    unexplained: int = 0

    @property
    def total(self) -> int:
        return self.killed + self.outage + self.pushed_twice + self.unexplained


class Buryings(msgspec.Struct):
    """Tasks that belong into the dead letters."""

    confirmed: int = 0
    buried: int = 0
    missing: int = 0


class Kills(msgspec.Struct):
    """Processes ended by force, with all below them."""

    consumers: int = 0
    producers: int = 0
    by_tasks: int = 0
    ended_themselves: int = 0
    """Consumers that nobody killed."""


class Account(msgspec.Struct):
    """What came of all tasks."""

    tasks: int
    confirmed: int
    """Tasks whose push the broker has confirmed."""
    doubtful: int
    """Tasks pushed again, since the confirmation of a push was never seen."""
    ended: int
    """Confirmed tasks of which a call has ended."""
    lost: int
    """Confirmed tasks that have neither ended nor are in the dead letters."""
    duplicated: int
    duplicates: Duplicates
    poison: Buryings
    killers: Buryings
    worn_out: int
    """Other tasks in the dead letters since their workers died more often than --max-deliveries."""
    misplaced: int
    """Dead letters that should not be there."""
    wrongly_executed: int
    """Calls that nobody asked for: of no task, of one never pushed, or with other arguments."""
    deliveries: int
    """How often a message reached a function; further attempts in the same hands are not counted.
    """
    released: int
    """Calls cut short, whose message the broker had to give out again."""
    recovery: Recovery
    kills: Kills
    outages: int
    outage_seconds: float
    throughput: float | None
    """Tasks ended a second, from the first begin to the last end."""
    lost_tasks: list[int]
    """The first of them."""

    @property
    def sound(self) -> bool:
        """Whether all is where it belongs."""
        return not (
            self.lost
            or self.misplaced
            or self.wrongly_executed
            or self.poison.missing
            or self.killers.missing
        )


def analyse(evidence: Evidence) -> Account:
    """Return the account of a trial."""
    calls = {
        number: sorted(those, key=lambda call: call.begun)
        for number, those in evidence.calls.items()
    }
    confirmed = {number for number, push in evidence.pushes.items() if push.confirmed is not None}
    ended = {
        number for number, those in calls.items() if any(call.ended is not None for call in those)
    }
    buried = {letter.number for letter in evidence.buried if letter.number is not None}
    lost = sorted(confirmed - ended - buried)
    kills = [*evidence.kills, *_by_tasks(calls)]
    duplicates = _duplicates(calls, evidence, kills)
    misplaced, worn_out = _strangers(evidence)
    return Account(
        tasks=len(evidence.tasks),
        confirmed=len(confirmed),
        doubtful=sum(push.tries > 1 for push in evidence.pushes.values()),
        ended=len(confirmed & ended),
        lost=len(lost),
        duplicated=duplicates.total,
        duplicates=duplicates,
        poison=_buryings(evidence.tasks, POISON, confirmed, buried),
        killers=_buryings(evidence.tasks, KILLER, confirmed, buried),
        worn_out=worn_out,
        misplaced=misplaced,
        wrongly_executed=sum(_wrong(call, evidence) for those in calls.values() for call in those),
        deliveries=sum(map(_deliveries, calls.values())),
        released=sum(call.cut for those in calls.values() for call in those),
        recovery=_recovery(calls, kills),
        kills=_count(kills),
        outages=len(evidence.outages),
        outage_seconds=round(sum(outage.ended - outage.began for outage in evidence.outages), 3),
        throughput=_throughput(calls, len(ended)),
        lost_tasks=lost[:MOST_NAMED],
    )


def _by_tasks(calls: Mapping[int, Iterable[Execution]]) -> Iterator[Kill]:
    for those in calls.values():
        for call in those:
            if call.killed is not None:
                yield Kill(call.killed, frozenset([call.pid]), "task")


def _count(kills: Iterable[Kill]) -> Kills:
    """Count them; a consumer that a task has killed did not end by itself."""
    kills = list(kills)
    count = Kills(
        *(sum(kill.what == what for kill in kills) for what in ("consumer", "producer", "task"))
    )
    victims = {pid for kill in kills if kill.what == "task" for pid in kill.pids}
    count.ended_themselves = sum(
        kill.what == "itself" and victims.isdisjoint(kill.pids) for kill in kills
    )
    return count


# what ran twice


def _duplicates(
    calls: Mapping[int, Sequence[Execution]], evidence: Evidence, kills: Sequence[Kill]
) -> Duplicates:
    found = Duplicates()
    for number, those in calls.items():
        ends = sorted(
            ((call.ended, call) for call in those if call.ended is not None), key=itemgetter(0)
        )
        doubts = evidence.pushes[number].tries - 1 if number in evidence.pushes else 0
        reasons = []
        for end, call in ends[:-1]:
            if _killed_in_flight(call, end, kills):
                reasons.append("killed")
            elif _away_in_flight(call, end, evidence.outages):
                reasons.append("outage")
            elif doubts > 0:
                doubts -= 1
                reasons.append("pushed_twice")
            else:
                reasons.append("unexplained")
        if reasons:
            reason = "unexplained" if "unexplained" in reasons else reasons[0]
            setattr(found, reason, getattr(found, reason) + 1)
    return found


def _killed_in_flight(call: Execution, end: float, kills: Iterable[Kill]) -> bool:
    """Whether its process was killed before the broker can have known of its end."""
    return any(
        call.pid in kill.pids and call.begun - KILL_SECONDS <= kill.at <= end + SETTLING
        for kill in kills
    )


def _away_in_flight(call: Execution, end: float, outages: Iterable[BrokerOutage]) -> bool:
    """Whether the broker was away, so that it may not have heard of its end."""
    return any(
        outage.began - SETTLING <= end and call.begun <= outage.ended + RETURN_SECONDS
        for outage in outages
    )


# dead letters


def _buryings(
    tasks: Iterable[TrialTask],
    fate: str,
    confirmed: Collection[int],
    buried: Collection[int | None],
) -> Buryings:
    fated = [task.number for task in tasks if task.fate == fate]
    there = sum(number in confirmed for number in fated)
    missing = sum(number in confirmed and number not in buried for number in fated)
    return Buryings(there, sum(number in buried for number in fated), missing)


def _strangers(evidence: Evidence) -> tuple[int, int]:
    """Count the dead letters that should not be there, and the tasks whose workers died too
    often."""
    misplaced = 0
    worn_out = set()
    for letter in evidence.buried:
        if letter.number is None or not 0 <= letter.number < len(evidence.tasks):
            misplaced += 1
        elif evidence.tasks[letter.number].fate == END:
            if letter.deliveries is not None and letter.deliveries > evidence.max_deliveries:
                worn_out.add(letter.number)
            else:
                misplaced += 1
    return misplaced, len(worn_out)


# calls


def _wrong(call: Execution, evidence: Evidence) -> bool:
    if not 0 <= call.number < len(evidence.tasks) or call.number not in evidence.pushes:
        return True
    task = evidence.tasks[call.number]
    return (call.fate, call.seconds) != (task.fate, task.seconds)


def _deliveries(those: Iterable[Execution]) -> int:
    """Count the calls of one task, in order, that are not a further attempt after a failed one in
    the same process."""
    count = 0
    failed: set[int] = set()
    for call in those:
        count += call.pid not in failed
        failed.discard(call.pid)
        if call.failed is not None:
            failed.add(call.pid)
    return count


def _recovery(calls: Mapping[int, Sequence[Execution]], kills: Sequence[Kill]) -> Recovery:
    by_pid: dict[int, list[float]] = {}
    for kill in kills:
        for pid in kill.pids:
            by_pid.setdefault(pid, []).append(kill.at)
    gaps: list[float] = []
    count = 0
    for those in calls.values():
        for index, call in enumerate(those):
            ends = [at for at in by_pid.get(call.pid, ()) if at >= call.begun - KILL_SECONDS]
            if call.cut and ends:
                killed = min(ends)
                count += 1
                gaps += [
                    later.begun - killed for later in those[index + 1 :] if later.begun > killed
                ][:1]
    gaps.sort()
    return Recovery(
        count, len(gaps), percentile(gaps, 50), percentile(gaps, 99), percentile(gaps, 100)
    )


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """Return the smallest value that so many percent are not above (nearest rank); None: there are
    none."""
    if not ordered:
        return None
    return round(ordered[max(0, ceil(len(ordered) * percent / 100) - 1)], 3)


def _throughput(calls: Mapping[int, Iterable[Execution]], ended: int) -> float | None:
    every = [call for those in calls.values() for call in those]
    last = max((call.ended for call in every if call.ended is not None), default=None)
    if last is None:
        return None
    return round(ended / max(0.001, last - min(call.begun for call in every)), 1)
