"""What the guides say works: their shell lines in order, their Python, their settings."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fbcli.options.model import Options
from fbcli.settings import load
from tests.docs.blocks import STRICT, blocks, run
from tests.installed import ROOT, clean_environment
from tests.servers import needs_programs

GUIDES = ["docs/guide.md", "docs/guide.zh.md"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("guide", GUIDES)
def test_the_shell_lines_work_in_an_empty_folder(guide: str, tmp_path: Path) -> None:
    needs_programs("bash", "jq")
    for block in blocks(guide, "sh"):
        if "redis" not in block.text:
            run(block.text, tmp_path)


@pytest.mark.parametrize("guide", GUIDES)
def test_the_shell_lines_work_with_redis(guide: str, tmp_path: Path, redis_url: str) -> None:
    needs_programs("bash", "redis-cli")
    (tmp_path / "mymod.py").write_text("def task(x: int, y: int = 2):\n    print('sum', x + y)\n")
    found = [block.text for block in blocks(guide, "sh") if "redis" in block.text]
    assert found
    for text in found:
        assert "redis://127.0.0.1:6379/0" in text
        script = f'redis-cli() {{ command redis-cli -u "{redis_url}" "$@"; }}\n' + text.replace(
            "redis://127.0.0.1:6379/0", redis_url
        )
        assert sorted(re.findall(r"^sum \d+$", run(script, tmp_path).stdout, re.MULTILINE)) == [
            "sum 3",
            "sum 4",
        ]


@pytest.mark.parametrize("guide", GUIDES)
def test_the_python_blocks_run(guide: str, tmp_path: Path) -> None:
    """Those that are whole programs; the others must at least compile."""
    programs = 0
    for block in blocks(guide, "python"):
        compile(block.text, f"{guide}:{block.line}", "exec")
        if "__main__" in block.text:
            programs += 1
            (tmp_path / "program.py").write_text(block.text)
            command = [sys.executable, *STRICT, "program.py"]
            done = subprocess.run(
                command,
                cwd=tmp_path,
                env=clean_environment(tmp_path),
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert (done.returncode, done.stderr) == (0, "")
    assert programs == 1


@pytest.mark.parametrize("guide", GUIDES)
def test_the_settings_can_be_loaded(guide: str, tmp_path: Path) -> None:
    for block in blocks(guide, "toml"):
        (tmp_path / "fb.toml").write_text(block.text)
        settings = load(tmp_path, {"REDIS_PASSWORD": "secret", "HOME": str(tmp_path)})
        assert settings.options("mymod:task").qps == 5


@pytest.mark.parametrize("guide", [*GUIDES, "README.md", "docs/architecture.md"])
def test_options_that_are_named_exist(guide: str) -> None:
    """Every `--option` in the text is one of some command."""
    text = (ROOT / guide).read_text(encoding="utf-8")
    reference = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    known = set(re.findall(r"`(--[a-z-]+)", reference)) | {"--help", "--version"}
    foreign = {"--wait"}  # docker compose
    for line in text.splitlines():
        if not re.search(r"docker|systemctl|pip ", line):
            assert set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", line)) <= known | foreign, line


def test_the_chinese_guide_maps_to_options_and_methods_that_exist() -> None:
    from fbcli import Booster

    text = (ROOT / "docs" / "guide.zh.md").read_text(encoding="utf-8")
    rows = [
        line.split("|")[2]
        for line in text.splitlines()
        if line.startswith("| `") and line.count("|") == 4
    ]
    assert len(rows) >= 20
    for cell in rows:
        for name in re.findall(r"`(\w+)=", cell):
            assert name in Options.model_fields or name in (
                "result",
                "delay",
                "at",
                "task_id",
                "after",
            ), cell
        for name in re.findall(r"`f\.(\w+)\(", cell):
            assert hasattr(Booster, name), cell
