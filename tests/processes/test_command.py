"""How a process that runs a part of fbcli is started."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fbcli.processes.command import python_command

HERE = "tests.processes.test_command"


def prints_its_words() -> None:
    import sys

    print(sys.argv[1:])


def prints_its_path() -> None:
    import email
    import queue
    import sys

    print(sys.path, email.__file__, queue.__file__)


def run(folder: Path, entry: str, *words: str, **env: str) -> str:
    return subprocess.run(
        python_command(f"{HERE}:{entry}", *words),
        cwd=folder,
        env={**os.environ, **env},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def test_the_entry_gets_its_words(tmp_path: Path) -> None:
    words = ["a b", "-x", "", "ü:y"]
    assert run(tmp_path, "prints_its_words", *words) == str(words)


@pytest.mark.parametrize("name", ["sys", "importlib", "email", "queue", "os", "tests", "fbcli"])
def test_the_working_folder_is_not_on_the_path(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("raise SystemExit('not me')\n")
    shown = run(tmp_path, "prints_its_path")
    assert str(tmp_path) not in shown
    assert "''" not in shown


def test_what_the_user_puts_on_the_path_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    path = run(tmp_path, "prints_its_path", PYTHONPATH=str(tmp_path / "mine"))
    assert str(tmp_path / "mine") in path
