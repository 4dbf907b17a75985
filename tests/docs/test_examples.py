"""Every example runs as it is, and does what it says; the census is counted again here, by other
means."""

from __future__ import annotations

import ast
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import symtable
import sys
import sysconfig
import tokenize
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.installed import BIN, ROOT, clean_environment
from tests.servers import needs_programs

EXAMPLES = ROOT / "examples"


def ran(command: Sequence[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=clean_environment(folder, TERM="dumb"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
    )


def summary_of(script: str, folder: Path, *words: str) -> dict[str, Any]:
    """Run a Python example in `folder`; return the JSON object that it prints last, and that is all
    on stdout."""
    done = ran([sys.executable, EXAMPLES / script, *words], folder)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return summary


def dead_letters(folder: Path) -> list[int]:
    done = ran([BIN / "fb", "queues", "--json"], folder)
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["dead"] for line in done.stdout.splitlines()]


def test_all_examples_are_listed_and_tested() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    tested = Path(__file__).read_text(encoding="utf-8")
    folders = sorted(
        path.name
        for path in EXAMPLES.iterdir()
        if path.is_dir() and not path.name.startswith(("_", "."))
    )
    assert folders == ["census", "crawler", "nightly", "orders"]
    for name in folders:
        assert f"[{name}]({name})" in listed
        assert f"def test_{name}" in tested


# --- census: the main job


def functions_in(data: bytes) -> int:
    """Count `def` by the compiler's symbol tables, an independent way to what the example counts in
    the tree; where there is a tree and no table (a `from __future__` in the wrong place), by the
    tokens."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(data, "file", "exec", flags=ast.PyCF_ONLY_AST, dont_inherit=True)
        except (SyntaxError, ValueError):
            return 0
        try:
            tables = [symtable.symtable(data, "file", "exec")]  # type: ignore[arg-type]
        except SyntaxError:
            tokens = tokenize.tokenize(io.BytesIO(data).readline)
            return sum(token.type == tokenize.NAME and token.string == "def" for token in tokens)
    count = 0
    while tables:
        table = tables.pop()
        tables += table.get_children()
        if isinstance(table, symtable.Function) and str(table.get_type()) == "function":
            count += (
                table.get_name() != "lambda" and ".0" not in table.get_parameters()
            )  # .0: a comprehension
    return count


def counted_again() -> dict[str, object]:
    """Count the files of the standard library without `rglob`, `ast.walk`, `split` or `count`."""
    root = sysconfig.get_paths()["stdlib"]
    paths = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != "site-packages"]
        paths += [
            os.path.join(folder, name) for name in names if os.path.splitext(name)[1] == ".py"
        ]
    lines = words = functions = 0
    hashes = []
    for path in sorted(paths):
        data = Path(path).read_bytes()
        lines += len(data.split(b"\n")) - 1
        words += len(re.findall(rb"[^ \t\n\r\x0b\f]+", data))
        functions += functions_in(data)
        hashes.append(hashlib.sha256(data).hexdigest())
    everything = hashlib.sha256("".join(hashes).encode()).hexdigest()
    return {
        "files": len(paths),
        "lines": lines,
        "words": words,
        "functions": functions,
        "sha256": everything,
    }


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_census(tmp_path: Path) -> None:
    summary = summary_of("census/demo.py", tmp_path, str(tmp_path / "work"))
    seconds = summary.pop("seconds")
    assert summary == counted_again()
    library = Path(sysconfig.get_paths()["stdlib"])
    least = (
        1000 if (library / "test" / "test_os.py").exists() else 500
    )  # some distributions leave the library's tests out
    assert summary["files"] > least
    assert seconds < 60
    assert dead_letters(tmp_path / "work") == [0] * len(dead_letters(tmp_path / "work"))


# --- the others


def test_crawler(tmp_path: Path) -> None:
    assert summary_of("crawler/demo.py", tmp_path, str(tmp_path / "work")) == {
        "pages": 150,
        "site": 150,
    }
    assert not any(dead_letters(tmp_path / "work"))


def test_orders(tmp_path: Path) -> None:
    assert summary_of("orders/orders.py", tmp_path) == {
        "booked": {"ada": 50_250, "bob": 50_000, "zoe": 5},
        "zoe": 5,
        "eve": "failed: a negative amount needs a person",
        "left": 0,
    }


def test_nightly(tmp_path: Path) -> None:
    needs_programs("bash")
    logs = tmp_path / "logs"
    logs.mkdir()
    for name in ("plain", "with a space", 'with "quotes", and a comma'):
        (logs / f"{name}.log").write_text(f"{name}\n" * 1000)
    done = ran([EXAMPLES / "nightly" / "nightly.sh", "logs"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.suffix for path in logs.iterdir()) == [".gz"] * 3
    assert gzip.decompress((logs / "with a space.log.gz").read_bytes()) == b"with a space\n" * 1000

    done = ran([EXAMPLES / "nightly" / "nightly.sh", "logs"], tmp_path)
    assert done.returncode == 0, "a night without work is a good night"

    (logs / "odd.log").mkdir()
    done = ran([EXAMPLES / "nightly" / "nightly.sh", "logs"], tmp_path)
    assert done.returncode == 1
    assert "IsADirectoryError" in done.stderr
