"""docs/commands.md is what the commands say of themselves now."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fbcli.commands._listing import commands
from tests.installed import BIN, ROOT

PAGE = ROOT / "docs" / "commands.md"


def sections() -> dict[str, str]:
    """How a command is called -> what is written of it."""
    parts = re.split(r"^##+ fb (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_it_is_fresh() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--print"],
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    assert made.stdout == PAGE.read_text(encoding="utf-8"), "run `make docs`"


def test_every_command_is_there_with_an_example() -> None:
    assert commands().keys() <= sections().keys()
    groups = {name.split()[0] for name in sections() if " " in name}
    for name, text in sections().items():
        if name in groups:
            continue
        assert "```sh\n" in text, name
        assert f"fb {name}" in text, name


@pytest.mark.parametrize("name", sections())
def test_it_says_what_the_help_says(name: str, tmp_path: Path) -> None:
    """Every option of the installed command's help stands in the page with an explanation, and no
    other."""
    wide = {"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb", "HOME": str(tmp_path)}
    shown = subprocess.run(
        [BIN / "fb", *name.split(), "--help"],
        cwd=tmp_path,
        env=wide,
        capture_output=True,
        encoding="utf-8",
    )
    assert shown.returncode == 0
    in_help = {
        option
        for line in shown.stdout.splitlines()
        if line.startswith("│ ")
        for option in re.findall(r" (--[a-z-]+)(?= )", line[:60])
    }
    rows = re.findall(
        r"^\| (`-.+?) \| (.+?) \| .*? \| `(FB_\w+)` \|$", sections()[name], re.MULTILINE
    )
    in_page = {option for names, _, _ in rows for option in re.findall(r"`(--[a-z-]+)", names)}
    assert in_page == in_help - {"--help"}
    assert all(len(explained) > 5 for _, explained, _ in rows)
