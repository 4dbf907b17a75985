"""Wheel and sdist hold what they must and nothing else, and what is installed from them works
without the tree."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.installed import ROOT
from tests.servers import RequirementMissing

BUILD = """
import sys
from setuptools import build_meta
out = sys.argv[1]
build_meta.build_wheel(out)
build_meta.build_sdist(out)
"""


def tracked() -> list[str]:
    """The files of the tree, as git knows them, or as they lie there where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode == 0:
        return [
            name
            for name in listed.stdout.splitlines()
            if (ROOT / name).exists() and not (ROOT / name).is_dir()
        ]
    skipped = {".venv", "build", "dist", "__pycache__"}
    return [
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*")
        if path.is_file() and not skipped & set(path.parts)
    ]


def copy_tree(to: Path) -> None:
    """Copy the tree without what was built in it; the two links stay links."""
    for name in tracked():
        if name.startswith(("fbcli/commands/", "fbcli/brokers/")):
            continue
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes((ROOT / name).read_bytes())
    for link in ("commands", "brokers"):
        (to / "fbcli" / link).symlink_to(f"../{link}")


def require_setuptools() -> None:
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "import setuptools as s; assert int(s.__version__.split('.')[0]) >= 77",
        ],
        capture_output=True,
    )
    if found.returncode:
        raise RequirementMissing(
            "There is no setuptools 77 or later in this environment: pip install -e '.[test]'"
        )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and an sdist of a copy of the tree."""
    require_setuptools()
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    copy_tree(tree)
    made = subprocess.run(
        [sys.executable, "-c", BUILD, str(out)], cwd=tree, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    return out


def wheel_of(folder: Path) -> Path:
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(wheel_of(built)) as wheel:
        infos = wheel.infolist()
    names = {info.filename for info in infos}
    assert {name.split("/")[0] for name in names} == {"fbcli", "fbcli-0.1.0.dist-info"}
    here = {
        f"fbcli/{path.relative_to(ROOT)}"
        for folder in ("commands", "brokers")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {
        name for name in names if name.startswith(("fbcli/commands/", "fbcli/brokers/"))
    } == here
    assert {"fbcli/py.typed", "fbcli-0.1.0.dist-info/licenses/LICENSE"} <= names
    assert not [info.filename for info in infos if (info.external_attr >> 28) == 0xA], "a link"
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "fbcli").rglob("*.py")}
    assert modules <= names | {name for name in modules if "__pycache__" in name}


def test_the_sdist_holds_real_files(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = {member.name.partition("/")[2]: member for member in archive}
    for name in (
        "fbcli/commands/push.py",
        "fbcli/brokers/sqlite/broker.py",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    ):
        assert members[name].isreg(), name
    assert not [name for name, member in members.items() if member.issym() or member.islnk()]


@pytest.mark.parametrize("source", ["wheel", "sdist"])
def test_what_is_installed_works(source: str, built: Path, tmp_path: Path) -> None:
    """Without the network: the dependencies are those of this environment, the package is the one
    from the archive."""
    wheel = wheel_of(built)
    if source == "sdist":
        (sdist,) = built.glob("*.tar.gz")
        with tarfile.open(sdist) as packed:
            for member in packed:
                if member.isreg():
                    target = tmp_path / "unpacked" / member.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    content = packed.extractfile(member)
                    assert content is not None
                    target.write_bytes(content.read())
        (tree,) = (tmp_path / "unpacked").iterdir()
        (tmp_path / "again").mkdir()
        made = subprocess.run(
            [sys.executable, "-c", BUILD, str(tmp_path / "again")],
            cwd=tree,
            capture_output=True,
            text=True,
        )
        assert made.returncode == 0, made.stderr
        wheel = wheel_of(tmp_path / "again")
    site, folder = tmp_path / "site", tmp_path / "empty"
    folder.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (folder / "mymod.py").write_text("def task(x: int):\n    return x + 1\n")
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FB_", "PYTHON", "PYTEST"))
    }
    env.update(PYTHONPATH=str(site), HOME=str(folder), COLUMNS="200")

    def fb(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "fbcli", *words],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = subprocess.run(
        [
            sys.executable,
            "-c",
            (
                "import fbcli, fbcli.brokers, fbcli.commands; print(fbcli.__file__,"
                " fbcli.commands.__file__)"
            ),
        ],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(path.startswith(str(site)) for path in where.stdout.split())
    assert "consume" in fb("--help")
    fb("push", "mymod:task", "x=1")
    assert '"succeeded":1' in fb("consume", "mymod:task", "--burst", "--json")

    # -S: without this environment's own folders, of which an editable install may make the tree's
    # root one
    for name in ("commands", "brokers", "tests", "benchmarks"):
        found = subprocess.run(
            [sys.executable, "-S", "-c", f"import {name}"],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
        )
        assert f"No module named '{name}'" in found.stderr
    requirements = (site / "fbcli-0.1.0.dist-info" / "METADATA").read_text()
    assert "Provides-Extra: redis" in requirements
    assert (
        "fb = fbcli.__main__:main"
        in (site / "fbcli-0.1.0.dist-info" / "entry_points.txt").read_text()
    )
