"""What README says is done as it is written: every shell line, the Python block, the settings, the
links."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fbcli.errors import ExitCode
from fbcli.settings import load
from tests.docs.blocks import STRICT, Block, blocks, run
from tests.installed import ROOT, clean_environment
from tests.servers import needs_programs

INSTALLING = ("pip install", "docker ", "apt ")
SHELL = [
    block
    for block in blocks("README.md", "sh")
    if not any(word in block.text for word in INSTALLING)
]
EMBEDDED = [block for block in SHELL if "redis" not in block.text]
REDIS = [block for block in SHELL if "redis" in block.text]


def test_there_is_something_to_run() -> None:
    assert len(EMBEDDED) >= 4
    assert len(REDIS) == 1


@pytest.mark.timeout(300)
def test_the_shell_lines_work_in_an_empty_folder(tmp_path: Path) -> None:
    """In order, in one folder: a reader goes from top to bottom."""
    needs_programs("bash", "jq")
    shown = [run(block.text, tmp_path) for block in EMBEDDED]
    first, push, _, look = shown
    sums = [int(number) for number in re.findall(r"^sum (\d+)$", first.stdout, re.MULTILINE)]
    assert sorted(sums) == sorted([3, *(x + 2 for x in range(1, 101))])
    assert "sum 3" in push.stdout
    assert push.stdout.splitlines()[-1] == "3", "fb call prints the result"
    assert "TypeError" in look.stdout
    assert not (tmp_path / "fb.toml").exists()


def test_the_shell_lines_work_with_redis(tmp_path: Path, redis_url: str) -> None:
    needs_programs("bash", "redis-cli")
    module = next(block for block in EMBEDDED if "mymod.py" in block.text).text.partition(
        "fb push"
    )[0]
    done = run(module + _with_server(REDIS[0], redis_url), tmp_path)
    assert sorted(re.findall(r"^sum \d+$", done.stdout, re.MULTILINE)) == ["sum 3", "sum 4"]


def _with_server(block: Block, url: str) -> str:
    assert "redis://127.0.0.1:6379/0" in block.text
    return f'redis-cli() {{ command redis-cli -u "{url}" "$@"; }}\n' + block.text.replace(
        "redis://127.0.0.1:6379/0", url
    )


def test_the_python_block_runs(tmp_path: Path) -> None:
    (block,) = blocks("README.md", "python")
    (tmp_path / "mytask.py").write_text(block.text)
    done = subprocess.run(
        [sys.executable, *STRICT, "mytask.py"],
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["3", "42"]


def test_the_settings_can_be_loaded(tmp_path: Path) -> None:
    (block,) = blocks("README.md", "toml")
    (tmp_path / "fb.toml").write_text(block.text)
    settings = load(tmp_path, {"REDIS_PASSWORD": "secret", "HOME": str(tmp_path)})
    assert settings.broker_url == "redis://:secret@10.0.0.5/0"
    options = settings.options("mymod:task")
    assert (options.qps, options.retries) == (5, 5)
    dev = load(tmp_path, {"REDIS_PASSWORD": "secret", "HOME": str(tmp_path), "FB_CONTEXT": "dev"})
    assert dev.broker_url == f"sqlite:///{tmp_path / 'dev.db'}"


def test_the_exit_codes_are_those_of_the_code() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    told = re.search(r"Exit codes: (.+?)\.", text, re.DOTALL)
    assert told
    assert [int(number) for number in re.findall(r"\d+", told[1])] == [
        code.value for code in ExitCode
    ]


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/guide.md",
        "docs/guide.zh.md",
        "docs/architecture.md",
    ],
)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            file, _, anchor = target.partition("#")
            found = (path.parent / file) if file else path
            assert found.exists(), target
            if anchor:
                assert anchor in _anchors(found), target


def _anchors(path: Path) -> set[str]:
    """The anchors of the headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }
