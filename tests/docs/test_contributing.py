"""What CONTRIBUTING says of a control of one's own, done in a copy of the tree: its file and its
lines in the catalogue are all that it takes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import blocks
from tests.installed import ROOT, clean_environment

PROGRAM = """\
from fbcli import Options, boost
from fbcli.controls.catalogue import gates_of
from fbcli.engine.work import Work

@boost(unless="stop", queue="here")
def task(): pass

assert task.options.unless == Options(unless="stop").unless == "stop"
assert "unless" in Options.model_json_schema()["properties"]
(gate,) = gates_of(task.options, None, live=False)
assert gate.fetchable(5.0).room > 0
open("stop", "w").close()
assert gate.fetchable(5.0) == (0, 6.0)
assert gate.shut(5.0) == ("waiting", "stop is there")
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the tree in which the steps have been taken."""
    tree = tmp_path / "tree"
    for folder in ("brokers", "commands", "docs"):
        shutil.copytree(ROOT / folder, tree / folder)
    shutil.copytree(ROOT / "fbcli", tree / "fbcli", symlinks=True)
    (source,) = (
        block.text for block in blocks("CONTRIBUTING.md", "python") if "Control)" in block.text
    )
    (tree / "fbcli/controls/unless.py").write_text(source, encoding="utf-8")
    catalogue = tree / "fbcli/controls/catalogue.py"
    text = catalogue.read_text(encoding="utf-8")
    (steps,) = (block.text for block in blocks("CONTRIBUTING.md", "diff"))
    for step in steps.split("@@\n"):
        lines = step.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] != "+")
        assert text.count(before) == 1, before
        text = text.replace(before, "".join(line[1:] for line in lines))
    catalogue.write_text(text, encoding="utf-8")
    return tree


def test_a_control_of_your_own(tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()

    def run(*words: str, **env: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=folder,
            env=clean_environment(
                folder, PYTHONPATH=str(tree), PYTHONDONTWRITEBYTECODE="1", COLUMNS="200", **env
            ),
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def shown(**env: str) -> dict[str, str]:
        rows = [
            json.loads(line)
            for line in run("-m", "fbcli", "config", "show", "--json", **env).splitlines()
        ]
        return next(row for row in rows if row["setting"] == "unless")

    assert str(tree) in run("-c", "import fbcli; print(fbcli.__file__)")
    assert "--unless" in run("-m", "fbcli", "consume", "--help")
    assert run("-m", "fbcli", "__complete", "--current=--unl", "consume", "m:f") == (
        "--unless\tTake no work while this file is there.\n"
    )
    reference = run(str(tree / "docs/generate.py"), "--print")
    assert (
        "| `--unless TEXT` | Take no work while this file is there. |  | `FB_UNLESS` |" in reference
    )
    run("-m", "fbcli", "init")
    starter = (folder / "fb.toml").read_text(encoding="utf-8")
    assert "# unless = …" in starter
    assert shown(FB_UNLESS="a") == {"setting": "unless", "value": "a", "source": "FB_UNLESS"}
    (folder / "fb.toml").write_text('[defaults]\nunless = "b"\n', encoding="utf-8")
    assert shown() == {"setting": "unless", "value": "b", "source": "fb.toml [defaults]"}
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    run("program.py")
