"""What CONTRIBUTING says of a broker, a control and a command of one's own, done in a copy of the
tree: one file each, with its lines in the table of brokers or of controls, is all that it takes."""

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


PUSHES_AND_CONSUMES = """\
import threading
from fbcli import boost

ran = threading.Semaphore(0)

@boost(queue="there")
def task(x):
    print("ran", x)
    ran.release()

task.push(1)
task.push(2)
consumer = task.consume()
assert ran.acquire(timeout=60) and ran.acquire(timeout=60)
consumer.stop()
assert consumer.join(60)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree in which the steps have been taken."""
    tree = tmp_path_factory.mktemp("walk") / "tree"
    for folder in ("brokers", "commands", "docs"):
        shutil.copytree(ROOT / folder, tree / folder)
    shutil.copytree(ROOT / "fbcli", tree / "fbcli", symlinks=True)
    shutil.copy(ROOT / "tests/contract/minimal.py", tree / "brokers/minimal.py")
    sources = [block.text for block in blocks("CONTRIBUTING.md", "python")]
    (control,) = (text for text in sources if "(Control)" in text)
    (command,) = (text for text in sources if "@app.command()" in text)
    (tree / "fbcli/controls/unless.py").write_text(control, encoding="utf-8")
    (tree / "commands/where.py").write_text(command, encoding="utf-8")
    table, catalogue = (block.text for block in blocks("CONTRIBUTING.md", "diff"))
    change(tree / "brokers/__init__.py", table)
    change(tree / "fbcli/controls/catalogue.py", catalogue)
    return tree


def change(file: Path, steps: str) -> None:
    """Make the changes of a block of the language `diff`."""
    text = file.read_text(encoding="utf-8")
    for step in steps.split("@@\n"):
        lines = step.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] != "+")
        assert text.count(before) == 1, before
        text = text.replace(before, "".join(line[1:] for line in lines))
    file.write_text(text, encoding="utf-8")


class Project:
    """An empty folder where the fbcli of the copied tree is used."""

    def __init__(self, tree: Path, folder: Path) -> None:
        self.tree, self.folder = tree, folder

    def run(self, *words: str, **env: str) -> str:
        """Run Python; return what it printed."""
        where = {"PYTHONPATH": str(self.tree), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=clean_environment(self.folder, **where, **env),
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def fb(self, *words: str, **env: str) -> str:
        """Run `fb`."""
        return self.run("-m", "fbcli", *words, **env)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")


@pytest.fixture
def project(tree: Path, tmp_path: Path) -> Project:
    return Project(tree, tmp_path)


def test_it_is_the_copy_that_is_tried(project: Project) -> None:
    assert str(project.tree) in project.run("-c", "import fbcli; print(fbcli.__file__)")


def test_a_broker_of_your_own(project: Project) -> None:
    (entry,) = (
        entry
        for entry in map(json.loads, project.fb("brokers", "--json").splitlines())
        if "minimal" in entry["schemes"]
    )
    assert entry["summary"] == "publish, fetch, acknowledge"
    project.write("program.py", PUSHES_AND_CONSUMES)
    ran = project.run("program.py", FB_BROKER="minimal://here")
    assert sorted(ran.splitlines()) == ["ran 1", "ran 2"]


def test_a_command_of_your_own(project: Project) -> None:
    assert "where       Print where messages and results are kept." in project.fb("--help")
    assert project.fb("where", "--broker", "redis://:secret@nowhere/0").startswith(
        "broker  redis://:***@nowhere/0\n"
    )
    assert json.loads(project.fb("where", "--json"))["broker"].startswith("sqlite:")
    assert "fb where --context production" in project.fb("where", "--help")
    assert project.fb("__complete", "--current=wher") == (
        "where\tPrint where messages and results are kept.\n"
    )
    reference = project.run(str(project.tree / "docs/generate.py"), "--print")
    assert "| [`fb where`](#fb-where) | Print where messages and results are kept. |" in reference


def test_a_control_of_your_own(project: Project) -> None:
    run, folder, tree = project.run, project.folder, project.tree

    def shown(**env: str) -> dict[str, str]:
        rows = [
            json.loads(line)
            for line in run("-m", "fbcli", "config", "show", "--json", **env).splitlines()
        ]
        return next(row for row in rows if row["setting"] == "unless")

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
