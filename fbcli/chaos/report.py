"""A trial in words: the line while it goes on, the rows of the table at its end, and the
verdict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from fbcli.chaos.analysis import Account, Buryings
from fbcli.chaos.plan import TrialPlan
from fbcli.console.messages import amount
from fbcli.values.durations import span

COLUMNS = ("what", "count", "remark")

Row = tuple[str, str, str]


class Progress(msgspec.Struct):
    """How far a trial has come."""

    tasks: int
    confirmed: int
    ended: int
    kills: int
    outages: int
    away: bool
    """Whether the broker is away at the moment."""
    killing: bool
    """Whether anybody may still be killed."""


class TrialReport(msgspec.Struct):
    """What a trial has found."""

    broker: str
    """Its URL, without any password."""
    queue: str
    seed: int
    seconds: float
    timed_out: bool
    """Whether time was up before everything was accounted for: then what is missing is not known to
    be lost."""
    left_in_queue: int | None
    """What the queue still held at the end; None: this broker cannot tell."""
    ledger: str | None
    """Where the records are kept, if they are."""
    account: Account

    @property
    def sound(self) -> bool:
        return self.account.sound and not self.timed_out


def opening(plan: TrialPlan, queue: str) -> str:
    """Return what is said beforehand."""
    slots = (
        f"{plan.processes} × {plan.concurrency}" if plan.processes > 1 else f"{plan.concurrency}"
    )
    return (
        f"{amount(plan.tasks, 'task')} on {queue}: {amount(plan.producers, 'producer')},"
        f" {amount(plan.consumers, 'consumer')} with {slots} {plan.mode} each, seed {plan.seed}."
    )


def line(progress: Progress) -> str:
    """Return how far it has come."""
    parts = [
        f"{progress.confirmed:,} of {progress.tasks:,} pushed",
        f"{progress.ended:,} done",
        amount(progress.kills, "kill"),
    ]
    if progress.outages:
        parts.append(amount(progress.outages, "outage"))
    if progress.away:
        parts.append("the broker is away")
    if not progress.killing:
        parts.append("nobody is killed any more, waiting for the rest")
    return " · ".join(parts)


def rows(report: TrialReport) -> Iterator[Row]:
    """Yield the rows of the table."""
    account = report.account
    unsure = (
        " of the pushes were repeated: their confirmation was never seen"
        if account.doubtful
        else ""
    )
    yield (
        "pushed",
        f"{account.confirmed:,}",
        f"confirmed by the broker{f'; {account.doubtful:,}{unsure}' if unsure else ''}",
    )
    yield (
        "done",
        f"{account.ended:,}",
        "" if account.throughput is None else f"{account.throughput:,.1f} a second",
    )
    yield "lost", "unknown" if report.timed_out else f"{account.lost:,}", _lost(report)
    yield "duplicated", f"{account.duplicated:,}", _duplicated(account)
    yield from _buried("poison", "tasks that fail for good", account.poison)
    yield from _buried("killers", "tasks that kill their worker", account.killers)
    if account.worn_out:
        yield (
            "worn out",
            f"{account.worn_out:,}",
            "in the dead letters, since their workers died more often than --max-deliveries",
        )
    if account.misplaced:
        yield "misplaced", f"{account.misplaced:,}", "dead letters that should not be there"
    yield "wrongly run", f"{account.wrongly_executed:,}", "calls that nobody asked for"
    yield (
        "deliveries",
        f"{account.deliveries:,}",
        f"{account.released:,} of them cut short, their messages given out again",
    )
    yield from _recovery(account)
    yield "kills", f"{_killed(account):,}", _kills(account)
    if account.outages:
        yield "outages", f"{account.outages:,}", f"{span(account.outage_seconds)} in all"
    yield "time", span(report.seconds), f"seed {report.seed}"


def figures(report: TrialReport) -> dict[str, Any]:
    """Return everything as one flat object for `--json`. Times are seconds; `lost` is null when
    time was up."""
    account = msgspec.to_builtins(report.account)
    trial = {name: getattr(report, name) for name in report.__struct_fields__ if name != "account"}
    lost = None if report.timed_out else report.account.lost
    return {**trial, **account, "lost": lost, "sound": report.sound, "verdict": verdict(report)}


def verdict(report: TrialReport) -> str:
    """Return the answer in a sentence."""
    account = report.account
    if report.timed_out:
        return (
            f"Time was up after {span(report.seconds)}, with {_missing(account):,} tasks not"
            " accounted for."
        )
    if account.sound:
        aside = (
            f"; {amount(account.worn_out, 'task')} put aside, with too many dead workers"
            if account.worn_out
            else ""
        )
        return (
            f"Nothing lost: {amount(account.confirmed, 'task')},"
            f" {amount(_killed(account), 'kill')}{_with_outages(account)}{aside}."
        )
    wrong = [
        f"{account.lost:,} of {amount(account.confirmed, 'task')} lost" if account.lost else "",
        f"{amount(account.misplaced, 'dead letter')} too many" if account.misplaced else "",
        (
            f"{amount(account.wrongly_executed, 'call')} that nobody asked for"
            if account.wrongly_executed
            else ""
        ),
    ]
    return f"{', '.join(filter(None, wrong))}: this broker, as it is set up, cannot be relied on."


def _missing(account: Account) -> int:
    return account.tasks - account.confirmed + account.lost


def _with_outages(account: Account) -> str:
    return f", {amount(account.outages, 'outage')}" if account.outages else ""


def _lost(report: TrialReport) -> str:
    account = report.account
    if report.timed_out:
        return f"{_missing(account):,} were not accounted for when time was up"
    if not account.lost:
        return "confirmed, and neither done nor a dead letter"
    named = ", ".join(map(str, account.lost_tasks)) + (
        ", …" if account.lost > len(account.lost_tasks) else ""
    )
    stuck = (
        f"; the queue still holds {amount(report.left_in_queue)}" if report.left_in_queue else ""
    )
    return f"confirmed, and neither done nor a dead letter: {named}{stuck}"


def _duplicated(account: Account) -> str:
    reasons = account.duplicates
    parts = [
        f"{reasons.killed:,} in flight at a kill" if reasons.killed else "",
        f"{reasons.outage:,} in flight at an outage" if reasons.outage else "",
        f"{reasons.pushed_twice:,} pushed twice" if reasons.pushed_twice else "",
        f"{reasons.unexplained:,} unexplained",
    ]
    return "done more than once: " + ", ".join(filter(None, parts))


def _buried(name: str, what: str, buryings: Buryings) -> Iterator[Row]:
    if buryings.confirmed or buryings.buried:
        missing = f", {buryings.missing:,} missing" if buryings.missing else ""
        yield (
            name,
            f"{buryings.buried:,}",
            f"{what}: of {buryings.confirmed:,} in the dead letters{missing}",
        )


def _recovery(account: Account) -> Iterator[Row]:
    recovery = account.recovery
    if recovery.calls:
        told = (
            f"from a kill until what ran began again: {recovery.again:,} of"
            f" {amount(recovery.calls, 'call')}"
        )
        for name, seconds, remark in (
            ("recovery p50", recovery.p50, told),
            ("recovery p99", recovery.p99, ""),
            ("recovery max", recovery.max, ""),
        ):
            yield name, "-" if seconds is None else f"{seconds:.2f} s", remark


def _killed(account: Account) -> int:
    return account.kills.consumers + account.kills.producers + account.kills.by_tasks


def _kills(account: Account) -> str:
    kills = account.kills
    parts = [f"{amount(kills.consumers, 'consumer')}", f"{amount(kills.producers, 'producer')}"]
    if kills.by_tasks:
        parts.append(f"{kills.by_tasks:,} by tasks")
    if kills.ended_themselves:
        parts.append(f"and {amount(kills.ended_themselves, 'consumer')} ended without being killed")
    return ", ".join(parts)
