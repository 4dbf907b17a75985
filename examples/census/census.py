"""A plain function: no decorator, no import of fbcli. What `make demo` runs for every file of
Python's own standard library."""

import ast
import hashlib
import warnings
from pathlib import Path


def census(path: str) -> dict[str, int | str]:
    """Count the lines, words and functions of a Python file, and compute its SHA-256."""
    data = Path(path).read_bytes()
    return {
        "path": path,
        "lines": data.count(b"\n"),
        "words": len(data.split()),
        "functions": _functions(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _functions(data: bytes) -> int:
    """Count `def` and `async def`, nested ones included; a file that is not valid Python (the
    library has some, as test data) has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(data)
    except (SyntaxError, ValueError):
        return 0
    return sum(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) for node in ast.walk(tree))
