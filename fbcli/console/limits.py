"""Limits as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from fbcli.console.output import visible
from fbcli.monitoring.limits import Force, Limited
from fbcli.stores.base import Limits

COLUMNS = ("queue", "set", "in_force", "consumers")


def cells(row: Limited) -> list[Any]:
    """Return a row of the table."""
    return [row.queue, described(row.limits) or None, in_force(row) or None, row.consumers]


def plain(row: Limited) -> dict[str, Any]:
    """Return a row as `--json` prints it: what is set (null: as started; a qps of 0: no limit), and
    what is in force."""
    return {
        "queue": row.queue,
        "qps": row.limits.qps,
        "qps_scope": row.limits.qps_scope,
        "concurrency": row.limits.concurrency,
        "consumers": row.consumers,
        "in_force": msgspec.to_builtins(row.in_force),
    }


def described(limits: Limits) -> str:
    """Return `3 a second over all processes, concurrency 20`; empty when nothing is set."""
    return ", ".join(_parts(limits.qps, limits.qps_scope, limits.concurrency))


def in_force(row: Limited) -> str:
    """Return what the consumers go by: where they differ, each way once."""
    return "; ".join(
        ", ".join(_parts(each.qps or 0, _scope(each), each.concurrency)) for each in row.in_force
    )


def _scope(force: Force) -> str | None:
    return force.qps_scope if force.qps else None


def _parts(qps: float | None, scope: str | None, concurrency: int | str | None) -> Iterator[str]:
    where = {"cluster": " over all processes", "process": " in each process"}.get(scope or "", "")
    if qps is not None:
        yield f"{qps:,g} a second{where}" if qps else "no rate limit"
    elif where:
        yield f"its rate{where}"
    if concurrency is not None:
        yield f"concurrency {visible(concurrency)}"
