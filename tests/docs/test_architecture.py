"""What docs/architecture.md says of rooms and words is true of the tree."""

from __future__ import annotations

import re
import sys

from tests.installed import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXT = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The rows of the first table that has this heading, cells as they stand there."""
    lines = TEXT[TEXT.index(f"| {heading} |") :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def layers() -> list[list[str]]:
    """The rooms of each layer, by the import rules."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = rules["tool"]["importlinter"]["contracts"]
    (found,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [re.split(r"\s*\|\s*", layer) for layer in found]


def test_the_rooms_are_those_of_the_import_rules_in_their_order() -> None:
    assert [re.findall(r"`(\w+)`", cells[0]) for cells in rows("rooms")] == layers()
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    arrows = text[text.index("```\ncommands →") + 4 :].partition("\n```")[0]
    steps = arrows.replace("(← brokers)", "").split("→")
    assert [re.findall(r"\w+", step) for step in steps] == layers()


def test_every_room_says_what_it_is_for() -> None:
    for room in (room for cells in rows("rooms") for room in re.findall(r"`(\w+)`", cells[0])):
        file = ROOT / "fbcli" / f"{room}.py"
        text = (file if file.exists() else ROOT / "fbcli" / room / "__init__.py").read_text()
        assert text.startswith('"""'), room


def test_words_are_in_order_and_explained_once() -> None:
    words = [cells[0] for cells in rows("word")]
    assert words == sorted(words)
    assert len(set(words)) == len(words)
    assert all(cells[1] for cells in rows("word"))


def test_files_that_are_named_are_there() -> None:
    named = set(
        re.findall(r"`((?:fbcli|brokers|engine|processes|pools|controls)/[\w/]+\.py)`", TEXT)
    )
    assert len(named) > 10
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "fbcli" / name).exists(), name
