"""The table and the JSON file of a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure
from benchmarks.rounds import Measured

WIDTH = 180
"""Columns where no terminal tells how many there are."""


def show(facts: Mapping[str, str], results: Sequence[Measured]) -> None:
    """Print everything to stdout."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH, soft_wrap=False)
    for name, fact in facts.items():
        console.print(f"{name:>10}: {fact}", highlight=False, markup=False)
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("figure", overflow="fold")
    table.add_column("side")
    for column in ("median", "first side", "ratio", "min–max", "best/best"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("target", no_wrap=True)
    table.add_column("met", no_wrap=True)
    for measured in results:
        for row in _rows(measured):
            table.add_row(*row)
        table.add_section()
    console.print(table)
    for measured in results:
        console.print(
            f"{measured.benchmark.name}: {measured.benchmark.settings}",
            style="dim",
            highlight=False,
            markup=False,
        )
        for side, why in measured.missing.items():
            console.print(
                f"{measured.benchmark.name}, {side}: not measured: {why}",
                highlight=False,
                markup=False,
            )
    missed = [name for measured in results for name in missed_in(measured)]
    console.print(
        f"{len(missed)} targets missed: {', '.join(missed)}" if missed else "All targets met.",
        highlight=False,
    )


def missed_in(measured: Measured) -> list[str]:
    """Return the names of the figures whose target was missed."""
    return [
        f"{measured.benchmark.name}/{figure.key}/{side}"
        for figure in measured.benchmark.figures
        for side in measured.benchmark.sides
        if measured.verdict(side, figure) is False
    ]


def write_json(path: Path, facts: Mapping[str, str], results: Sequence[Measured]) -> None:
    """Write every value of every round, and what was made of them."""
    path.write_text(
        json.dumps(
            {"facts": dict(facts), "benchmarks": [_as_data(measured) for measured in results]},
            indent=1,
        )
    )


def _rows(measured: Measured) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    base = next(iter(measured.benchmark.sides))
    for figure in measured.benchmark.figures:
        for side in measured.benchmark.sides:
            median = measured.median(side, figure.key) if side in measured.values else None
            if median is None or (
                side == base and len(measured.values) > 1 and side not in figure.targets
            ):
                continue
            base_median = (
                measured.median(base, figure.key)
                if base in measured.values and base != side
                else None
            )
            rows.append(
                (
                    f"{measured.benchmark.name}: {figure.title}",
                    side,
                    _with_unit(median, figure.unit),
                    "" if base_median is None else f"{base} {_number(base_median)}",
                    *_ratio(measured, side, figure),
                    *_target(measured, side, figure),
                )
            )
    return rows


def _ratio(measured: Measured, side: str, figure: Figure) -> tuple[str, str, str]:
    ratio, ratios, best = (
        measured.ratio(side, figure.key),
        measured.ratios(side, figure.key),
        measured.best_ratio(side, figure),
    )
    if ratio is None or best is None:
        values = measured.of(side, figure.key)
        return "", f"{_number(min(values))}–{_number(max(values))}" if len(values) > 1 else "", ""
    return f"{ratio:.2f}×", f"{min(ratios):.2f}–{max(ratios):.2f}×", f"{best:.2f}×"


def _target(measured: Measured, side: str, figure: Figure) -> tuple[str, str]:
    verdict = measured.verdict(side, figure)
    if verdict is None:
        return "", ""
    return figure.targets[side].text(figure.unit), "yes" if verdict else "[bold red]NO[/]"


def _with_unit(value: float, unit: str) -> str:
    return f"{_number(value)} {unit}"


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _as_data(measured: Measured) -> dict[str, Any]:
    return {
        "name": measured.benchmark.name,
        "settings": measured.benchmark.settings,
        "rounds": measured.values,
        "missing": measured.missing,
        "figures": [
            {
                "key": figure.key,
                "unit": figure.unit,
                "side": side,
                "median": measured.median(side, figure.key),
                "ratio": measured.ratio(side, figure.key),
                "ratios": measured.ratios(side, figure.key),
                "best_ratio": measured.best_ratio(side, figure),
                "target": figure.targets[side].text(figure.unit)
                if side in figure.targets
                else None,
                "met": measured.verdict(side, figure),
            }
            for figure in measured.benchmark.figures
            for side in measured.values
        ],
    }
