"""Address <-> callable: where a function lives, and how it is imported.

Knows Python modules and files, nothing of options, messages or brokers. What can be said of an
address without importing anything: `fbcli.address.outline`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import keyword
import os
import re
import sys
import traceback
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import FunctionType, ModuleType
from typing import Any

from fbcli.address.source import (
    bases_of,
    files_below,
    functions_of,
    is_path,
    modules_below,
    read_source,
)
from fbcli.errors import AddressNotFound, UsageError, did_you_mean
from fbcli.values.error_text import sentence_of

EXAMPLE = "Write module:function, like mymod:task, pkg.mod:Class.static or path/to/file.py:task."


@dataclass(frozen=True, slots=True)
class Address:
    """Where a function lives."""

    text: str
    """`module:name`, in its canonical form: a file below the root folder is relative to it."""
    module: str
    """`pkg.mod`, or the path of a file with forward slashes, relative to the root folder when below
    it."""
    name: str
    """`func` or `Class.static`."""

    @classmethod
    def parse(cls, text: str, root: Path | None = None) -> Address:
        """Return the address that `text` writes; nothing is imported.

        A relative path is taken from the current folder, then from `root` (default: the current
        folder). Raises `UsageError`, with the form that was probably meant.
        """
        module, colon, name = text.strip().rpartition(":")
        if not colon or not name or "/" in name or "\\" in name or name.endswith(".py"):
            raise UsageError(f"{text!r} is not an address: {_right_form(text.strip(), root)}")
        if name.endswith("()"):
            raise UsageError(
                f"{text!r} is not an address: write it without parentheses, {module}:{name[:-2]}."
            )
        if not _is_dotted_name(name):
            raise UsageError(
                f"{text!r} is not an address: {name!r} is no function's name. {EXAMPLE}"
            )
        if is_path(module):
            if not module.endswith(".py"):
                dotted = module.strip("/").replace("/", ".")
                raise UsageError(
                    f"{text!r} is not an address: write {module}.py:{name} or {dotted}:{name}."
                )
            module = _canonical(module, root or Path.cwd())
        elif not _is_dotted_name(module):
            raise UsageError(
                f"{text!r} is not an address: {module!r} is no module's name"
                + (
                    f"; for a file write {module}.py:{name}."
                    if module and ":" not in module
                    else f". {EXAMPLE}"
                )
            )
        return cls(f"{module}:{name}", module, name)

    @property
    def is_file(self) -> bool:
        """Whether `module` is a file's path."""
        return is_path(self.module)

    @property
    def queue(self) -> str:
        """The default queue name: `module.name`, in characters that every broker takes
        (`A-Za-z0-9._-`).

        Note: other characters become `_`; where letters of another script are lost by that, a
        checksum keeps two functions from sharing a queue.
        """
        module = self.module
        if self.is_file:
            path = PurePath(module)
            module = ".".join(
                (PurePath(path.name) if path.is_absolute() else path).with_suffix("").parts
            )
        full = f"{module.removesuffix('.__init__')}.{self.name}"
        clean = re.sub(r"[^A-Za-z0-9._-]", "_", full)
        return clean if full.isascii() else f"{clean}-{zlib.crc32(full.encode()):08x}"

    def __str__(self) -> str:
        return self.text


def load(address: Address, root: Path) -> Any:
    """Import the module and return what is there: a function, sync or async, static or class
    method, partial, Booster.

    `root` (and its `src` folder, where that is no package) stays on `sys.path`, since functions
    import later, too: behind Python's own modules, so that a file named like one of them does not
    take its place, and before what is installed. A file is imported by its module name where it has
    one, so that it exists once in the process and its functions can be pickled. Raises
    `AddressNotFound`: no such module or function, the import failed, or it cannot be called.
    """
    for base in reversed(bases_of(root)):
        _put_on_path(base)
    try:
        module = (
            _import_file(address, root)
            if address.is_file
            else importlib.import_module(address.module)
        )
    except AddressNotFound:
        raise
    except (Exception, SystemExit) as error:
        raise AddressNotFound(_why_not(error, address.module, root)) from error
    try:
        return _resolve(module, address)
    except AddressNotFound as error:
        raise AddressNotFound(f"{error}{_own_of_that_name(address, module, root)}") from None


def _own_of_that_name(address: Address, module: ModuleType, root: Path) -> str:
    """Return what to write when another module of that name has hidden the user's file."""
    found = getattr(module, "__file__", "built in")
    for base in bases_of(root):
        path = base.joinpath(*address.module.split(".")).with_suffix(".py")
        if not address.is_file and path.is_file() and found != str(path):
            return (
                f" Python finds another module of that name before your file: {found}. Write"
                f" {_canonical(str(path), root)}:{address.name}, or give the file another name."
            )
    return ""


def address_of(function: Callable[..., Any], root: Path | None = None) -> Address:
    """Return the address of a function object.

    A function of the script that is running (`__main__`) is addressed by its file: as a module
    below `root` (default: the current folder) where it has a module name there, else by path.
    Raises `UsageError` for what has no address: lambdas, functions inside functions, methods of
    objects, partials.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        raise UsageError(
            f"{function!r} has no address: write a function with `def` at the top level of a"
            " module."
        )
    if not _is_dotted_name(name):
        kind = "a lambda" if name.endswith("<lambda>") else "defined inside another function"
        raise UsageError(
            f"{module}.{name} has no address, since it is {kind}: consumers cannot import it. "
            "Write it with `def` at the top level of a module."
        )
    owner = getattr(function, "__self__", None)
    if owner is not None and not isinstance(owner, type | ModuleType):
        raise UsageError(
            f"{module}.{name} has no address, since it belongs to an object: make it a"
            " @staticmethod."
        )
    if module in ("__main__", "__mp_main__"):
        module = _main_module(name, root or Path.cwd())
    return Address(f"{module}:{name}", module, name)


# --- the forms of an address


def _is_dotted_name(text: str) -> bool:
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in text.split("."))


def _canonical(path: str, root: Path) -> str:
    """Return the path relative to `root` when below it, else absolute; with forward slashes."""
    place = Path(os.path.abspath(os.path.expanduser(path)))
    if not place.exists() and (root / path).exists():
        place = Path(os.path.abspath(root / path))
    return (_below(place, root) or place).as_posix()


def _below(path: Path, root: Path) -> PurePath | None:
    """Return `path` relative to `root`, or None; symbolic links are followed only when it needs
    that."""
    for inner, outer in ((path, Path(os.path.abspath(root))), (path.resolve(), root.resolve())):
        if inner.is_relative_to(outer):
            return inner.relative_to(outer)
    return None


def _right_form(text: str, root: Path | None) -> str:
    text = text.strip(":")
    if not text:
        return EXAMPLE
    if not is_path(text):
        for module, path in modules_below(root or Path.cwd(), text.partition(".")[0]):
            if text.startswith(f"{module}.") and text[len(module) + 1 :] in functions_of(
                read_source(path)
            ):
                return f"write {module}:{text[len(module) + 1 :]}."
    module, dot, name = text.rpartition(".")
    if is_path(text) or not dot or not _is_dotted_name(text):
        return f"name the function, too: {text}:FUNCTION. {EXAMPLE}"
    return f"write {module}:{name}."


# --- importing


def _put_on_path(folder: Path, *, last: bool = False) -> None:
    if str(folder) in sys.path:
        return
    position = len(sys.path)
    if not last:
        own = [index for index, entry in enumerate(sys.path) if _is_pythons_own(entry)]
        position = own[-1] + 1 if own else 0
    sys.path.insert(position, str(folder))


def _is_pythons_own(entry: str) -> bool:
    """Whether an entry of `sys.path` is of the standard library."""
    return entry == os.path.dirname(os.__file__) or os.path.basename(entry) == "lib-dynload"


def _module_names(path: Path, bases: list[Path]) -> list[str]:
    """Return the names under which `path` may be importable, counted from each of `bases` above
    it."""
    below = [
        path.relative_to(base).with_suffix("").parts for base in bases if path.is_relative_to(base)
    ]
    return [
        ".".join(parts).removesuffix(".__init__") for parts in below if "." not in "".join(parts)
    ]


def _import_file(address: Address, root: Path) -> ModuleType:
    path = Path(os.path.abspath(root / address.module))
    if not path.is_file():
        near = [
            f"{_canonical(str(found), root)}:{address.name}"
            for _, found in files_below(path.parent, "")
            if found
        ]
        raise AddressNotFound(f"There is no file {str(path)!r}.{did_you_mean(address.text, near)}")
    names = _module_names(path, bases_of(root))
    base = path.parent
    while (base / "__init__.py").exists():
        base = base.parent
    # Modules beside it are imported as in `python file.py`: from its own folder, or the one above
    # its package.
    _put_on_path(base, last=bool(names))
    names += _module_names(path, [base])
    for name in names:
        if _leads_to(name, path):
            return importlib.import_module(name)
    name = f"fb_file_{zlib.crc32(str(path).encode()):08x}_{re.sub(r'[^A-Za-z0-9]', '_', path.stem)}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _leads_to(name: str, path: Path) -> bool:
    """Return whether importing `name` gives `path`, and not a module of the same name elsewhere
    (`queue.py`, say)."""
    if name in sys.modules:
        origin = getattr(sys.modules[name], "__file__", None)
    else:
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(f"{error.name}.")):
                return False
            raise
        origin = spec.origin if spec else None
    return origin is not None and os.path.exists(origin) and os.path.samefile(origin, path)


def _main_module(name: str, root: Path) -> str:
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":  # python -m pkg.mod
        return str(spec.name)
    file = getattr(main, "__file__", None)
    if not file or not os.path.isfile(file):
        raise UsageError(
            f"{name} has no address, since it was typed in, not read from a file: consumers cannot"
            " import it."
        )
    path = Path(os.path.abspath(file))
    for module in _module_names(path, bases_of(root)):
        if _is_dotted_name(module) and (module not in sys.modules or _leads_to(module, path)):
            return module
    return _canonical(str(path), root)


def _why_not(error: BaseException, module: str, root: Path) -> str:
    if (
        isinstance(error, ModuleNotFoundError)
        and error.name
        and f"{module}.".startswith(f"{error.name}.")
    ):
        modules = [found for found, _ in modules_below(root)]
        deeper = [found for found in modules if found.endswith(f".{module}")]
        hint = f" Did you mean {deeper[0]!r}?" if deeper else did_you_mean(module, modules)
        return f"There is no module {error.name!r}, neither in {root} nor installed.{hint}"
    advice = ""
    if isinstance(error, SystemExit):
        advice = (
            " A module must not exit when it is imported: guard that by `if __name__ =="
            ' "__main__":`.'
        )
    return f"Importing {module!r} failed: {sentence_of(error)}{_place_of(error)}.{advice}"


def _place_of(error: BaseException) -> str:
    """Return ` (file:line)` of the last frame in the user's own code, as well as that can be
    told."""
    if isinstance(error, SyntaxError) and error.filename and os.path.exists(error.filename):
        return f" ({error.filename}:{error.lineno})"
    places = [
        (frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    places = [place for place in places if not place[0].startswith("<") and place[0] != __file__]
    own = [place for place in places if not of_library(place[0])]
    return " ({}:{})".format(*(own or places)[-1]) if places else ""


def of_library(file: str) -> bool:
    """Whether a file of code belongs to Python or was installed, rather than written by the
    user."""
    standard = os.path.dirname(os.__file__) + os.sep
    return file.startswith((standard, "<frozen ")) or f"-packages{os.sep}" in file


def _resolve(module: ModuleType, address: Address) -> Any:
    """Follow the dots of `address.name` from the module, and check that the end can be called."""
    owner: Any = None
    target: Any = module
    passed = address.module
    for part in address.name.split("."):
        owner = target
        try:
            target = getattr(owner, part)
        except AttributeError:
            there = [
                name
                for name in dir(owner)
                if not name.startswith("_") and callable(getattr(owner, name, None))
            ]
            own = [
                name
                for name in there
                if getattr(getattr(owner, name), "__module__", None) == module.__name__
            ]
            hint = did_you_mean(part, there) or (f" It has {', '.join(own[:5])}." if own else "")
            raise AddressNotFound(f"There is no function {part!r} in {passed}.{hint}") from None
        passed = f"{passed}.{part}" if owner is not module else f"{passed}:{part}"
    if inspect.isclass(target):
        raise AddressNotFound(
            f"{address} is a class: name a function, or a static or class method of it."
        )
    if not callable(target):
        raise AddressNotFound(f"{address} is of type {type(target).__name__}, not a function.")
    if inspect.isclass(owner) and isinstance(inspect.getattr_static(owner, part), FunctionType):
        raise AddressNotFound(
            f"{address} is a method that needs an object to be called on: make it a @staticmethod"
            " or @classmethod."
        )
    return target
