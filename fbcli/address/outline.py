"""What can be said of addresses without importing anything: which there are, their parameters, what
`@boost` says of them."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from pathlib import Path
from typing import Any

from fbcli.address.address import Address
from fbcli.address.source import (
    definition_of,
    files_below,
    functions_of,
    is_path,
    modules_below,
    read_source,
    source_of,
    statements_of,
)
from fbcli.errors import AddressNotFound

READ_AT_MOST = 200_000
"""Bytes of source that `find_addresses` parses for one answer; modules beyond are named without
their functions."""


def find_addresses(root: Path, prefix: str = "", *, limit: int | None = READ_AT_MOST) -> list[str]:
    """Return the addresses below `root` that begin with `prefix`, nearest first; never raises on
    what it cannot read.

    A part of a path gives files (`jobs/cr` -> `jobs/crawl.py:fetch`), anything else modules.
    Folders to look into end with `/`, and modules whose functions were not looked for, since
    `limit` bytes of source had been read, with `:`.
    """
    module, colon, name = prefix.rpartition(":")
    if colon:
        names = functions_of(read_source(source_of(root, module)))
        return [f"{module}:{found}" for found in names if found.startswith(name)]
    matches: list[tuple[str, Path | None]] = []
    if not is_path(prefix) and not prefix.startswith("."):
        matches += modules_below(root, prefix)
    addresses = []
    left = float("inf") if limit is None else limit
    for module, path in matches or files_below(root, prefix):
        if path is None:
            addresses.append(module)
        elif left > 0:
            source = read_source(path)
            left -= len(source)
            addresses += [f"{module}:{found}" for found in functions_of(source)]
        else:
            addresses.append(f"{module}:")
    return addresses


def parameter_names(root: Path, address_text: str) -> list[tuple[str, str, str | None]]:
    """Return (name, annotation, default) of each parameter as the source writes them, importing
    nothing.

    The annotation is `""` where there is none, the default None. `*args` and `**kwargs` are left
    out; what cannot be found or read has no parameters.
    """
    module, _, name = address_text.rpartition(":")
    node, is_method = definition_of(read_source(source_of(root, module)), name)
    if node is None:
        return []
    given = node.args
    positional = given.posonlyargs + given.args
    defaults = [None] * (len(positional) - len(given.defaults)) + given.defaults + given.kw_defaults
    return [
        (
            parameter.arg,
            ast.unparse(parameter.annotation) if parameter.annotation else "",
            ast.unparse(default) if default else None,
        )
        for parameter, default in zip(positional + given.kwonlyargs, defaults, strict=True)
    ][is_method:]


def has_source(root: Path, address: Address) -> bool:
    """Return whether the address's module is a file below `root`, or that file."""
    source = source_of(root, address.module)
    return source is not None and source.is_file()


def bound_names(root: Path, address: Address) -> set[str]:
    """Return the names that the source of the address's module defines, assigns or imports at its
    top level, importing nothing.

    `*` is among them where it imports all of another module. Raises `AddressNotFound` for source
    that is no Python.
    """
    source = read_source(source_of(root, address.module))
    try:
        ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise AddressNotFound(f"{address.module} cannot be parsed: {error}.") from None
    names: set[str] = set()
    for node in statements_of(source):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        else:
            names.update(
                inner.id
                for inner in ast.walk(node)
                if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)
            )
    return names


def written_options(root: Path, address: Address) -> dict[str, Any] | None:
    """Return the options that the source gives to `@boost(…)` in plain words, importing nothing.

    Empty for a function that is not decorated, and where there is no such module at all. None: only
    importing it can tell (an installed module, another decorator, a computed `queue` or `broker`, a
    name that is not defined in the module itself).
    """
    if not has_source(root, address):
        installed = (
            not address.is_file
            and importlib.util.find_spec(address.module.partition(".")[0]) is not None
        )
        return None if installed else {}
    node, _ = definition_of(read_source(source_of(root, address.module)), address.name)
    if node is None:
        return None
    options: dict[str, Any] = {}
    for decorator in node.decorator_list:
        function, keywords = (
            (decorator.func, decorator.keywords)
            if isinstance(decorator, ast.Call)
            else (decorator, [])
        )
        name = ast.unparse(function).rpartition(".")[2]
        if name not in ("boost", "staticmethod", "classmethod"):
            return None
        for given in keywords:
            try:
                options[given.arg or "**"] = ast.literal_eval(given.value)
            except ValueError:
                if given.arg in (None, "queue", "broker"):
                    return None
    return None if "**" in options else options
