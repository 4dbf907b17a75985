"""Python source below a folder, read by `ast` and never imported: modules, their functions, where
one is defined.

Never raises on what it cannot read: shell completion and hints build on it.
"""

from __future__ import annotations

import ast
import os
import re
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path

MAX_FOLDERS = 500
"""Folders that are looked into for modules, nearest first: the root may be a home folder."""

_SKIPPED = {
    "node_modules",
    "site-packages",
    "build",
    "dist",
    "tests",
    "test",
    "venv",
    "env",
    "__pycache__",
}
_NOT_TASKS = re.compile(r"test_.*|.*_test|conftest|setup|noxfile|__main__")


def is_path(module: str) -> bool:
    """Whether the part of an address before the colon is a file."""
    return module.endswith(".py") or "/" in module or os.sep in module


def bases_of(root: Path) -> list[Path]:
    """Return the folders that modules are named from: a `src` folder that is no package, and the
    root itself."""
    root = Path(os.path.abspath(root))
    source = root / "src"
    return [source, root] if source.is_dir() and not (source / "__init__.py").exists() else [root]


def modules_below(root: Path, prefix: str = "") -> Iterator[tuple[str, Path]]:
    """Yield the modules whose names begin with `prefix`, looking only into folders that can hold
    them."""
    bases = bases_of(root)
    folders = deque((base, "") for base in reversed(bases))
    for _ in range(MAX_FOLDERS):
        if not folders:
            return
        folder, package = folders.popleft()
        entries = _entries(folder)
        names = {entry.name for entry in entries}
        if "pyvenv.cfg" in names:
            continue
        if package.startswith(prefix) and package and "__init__.py" in names:
            yield package, folder / "__init__.py"
        for entry in entries:
            stem, dot, suffix = entry.name.partition(".")
            module = f"{package}.{stem}" if package else stem
            if not stem.isidentifier() or not (
                module.startswith(prefix) or prefix.startswith(f"{module}.")
            ):
                continue
            if (
                suffix == "py"
                and module.startswith(prefix)
                and stem != "__init__"
                and not _NOT_TASKS.fullmatch(stem)
            ):
                yield module, Path(entry.path)
            elif (
                not dot
                and stem not in _SKIPPED
                and _is_folder(entry)
                and Path(entry.path) not in bases
            ):
                folders.append((Path(entry.path), module))


def files_below(root: Path, prefix: str) -> Iterator[tuple[str, Path | None]]:
    """Yield the Python files of one folder, whose paths begin with `prefix`, and its folders, with
    None."""
    folder, slash, start = prefix.rpartition("/")
    for entry in _entries(root / (folder + slash)):
        if not entry.name.startswith(start) or entry.name.startswith((".", "__pycache__")):
            continue
        if _is_folder(entry):
            yield f"{folder}{slash}{entry.name}/", None
        elif entry.name.endswith(".py"):
            yield f"{folder}{slash}{entry.name}", Path(entry.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link to itself
        return False


def source_of(root: Path, module: str) -> Path | None:
    if is_path(module):
        return root / module
    inner = module.replace(".", "/")
    places = [base / f"{inner}{end}" for base in bases_of(root) for end in (".py", "/__init__.py")]
    return next((place for place in places if place.is_file()), None)


def read_source(path: Path | None) -> bytes:
    try:
        return path.read_bytes() if path else b""
    except OSError:
        return b""


def statements_of(source: bytes) -> list[ast.stmt]:
    """Return the statements that run when the module is imported; none of a broken one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    statements: list[ast.stmt] = []
    rest: list[ast.stmt] = tree.body[::-1]
    while rest:
        node = rest.pop()
        if isinstance(node, ast.Try) or (
            isinstance(node, ast.If) and "__main__" not in ast.dump(node.test)
        ):
            rest += [*node.body, *node.orelse][::-1]
        else:
            statements.append(node)
    return statements


def _is_static(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return `staticmethod` or `classmethod` as the node is decorated, or an empty text."""
    kinds = (decorator.id for decorator in node.decorator_list if isinstance(decorator, ast.Name))
    return next((kind for kind in kinds if kind in ("staticmethod", "classmethod")), "")


def functions_of(source: bytes) -> list[str]:
    """Return the public functions of a module, and the static and class methods of its public
    classes."""
    names = []
    for node in statements_of(source):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            methods = (
                inner
                for inner in node.body
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            )
            names += [f"{node.name}.{method.name}" for method in methods if _is_static(method)]
    return [name for name in dict.fromkeys(names) if not name.rpartition(".")[2].startswith("_")]


def definition_of(
    source: bytes, name: str
) -> tuple[ast.FunctionDef | ast.AsyncFunctionDef | None, bool]:
    """Return the definition of `name`, and whether its first parameter is `self` or `cls`."""
    body, in_class = statements_of(source), False
    *classes, last = name.split(".")
    for part in classes:
        body = next(
            (node.body for node in body if isinstance(node, ast.ClassDef) and node.name == part), []
        )
        in_class = True
    for node in reversed(body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == last:
            return node, in_class and _is_static(node) != "staticmethod"
    return None, False
