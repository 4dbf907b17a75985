"""What only one system has stays behind the seam: nothing above asks which system it is, and every
module is imported on Windows."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fbcli

ROOT = Path(fbcli.__file__).parent
SEAM = ROOT / "platform"
SYSTEM_MODULES = {"os", "signal", "select", "socket", "sys", "time", "threading"}
"""Modules whose names differ from system to system."""
ONE_SYSTEM_ONLY = {
    *("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"),
    *("_winapi", "msvcrt", "nt", "winreg"),
}


def sources() -> list[Path]:
    """The modules above the seam; those of commands and brokers, too."""
    folders = [ROOT, *(path for path in ROOT.iterdir() if path.is_symlink())]
    found = {path for folder in folders for path in folder.rglob("*.py")}
    return sorted(path for path in found if SEAM not in path.parents)


def questions(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Where code asks which system it is on, or has use for one only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {node.module or ""}
        else:
            names = set()
        for name in names & ONE_SYSTEM_ONLY:
            yield getattr(node, "lineno", 0), f"import {name}"
        text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        if text in ("sys.platform", "os.name", "os.uname", "platform.system"):
            yield getattr(node, "lineno", 0), text
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and (node.func.id == "hasattr" or (node.func.id == "getattr" and len(node.args) == 3))
            and isinstance(node.args[0], ast.Name)
            and node.args[0].id in SYSTEM_MODULES
        ):
            yield node.lineno, ast.unparse(node)


def test_nothing_above_the_seam_asks_which_system_it_is() -> None:
    assert len(sources()) > 150, "all modules are looked at"
    asked = [
        f"{path.relative_to(ROOT)}:{line}: {question}"
        for path in sources()
        for line, question in questions(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not asked, "this belongs into fbcli/platform"


@pytest.mark.parametrize(
    "code",
    [
        "import sys\nif sys.platform == 'win32': pass",
        "import os\nif os.name == 'nt': pass",
        "import fcntl",
        "from resource import getrusage",
        "import platform\nplatform.system()",
        "import os\nhasattr(os, 'fork')",
        "import signal\ngetattr(signal, 'SIGHUP', None)",
    ],
)
def test_such_a_question_is_found(code: str) -> None:
    assert list(questions(ast.parse(code)))


ON_WINDOWS = """
import importlib, os, pkgutil, select, signal, socket, sys
import fbcli

NOT_THERE = {"fbcli.__main__", *(f"fbcli.platform.{own}" for own in ("linux", "pipe", "posix"))}

def modules():
    found = pkgutil.walk_packages(fbcli.__path__, "fbcli.")
    return sorted(name for _, name, _ in found if name not in NOT_THERE)

for name in modules():  # what others wrote is imported as the system is
    importlib.import_module(name)
for name in [name for name in sys.modules if name.partition(".")[0] == "fbcli"]:
    del sys.modules[name]
for module, names in {
    os: ["fork", "register_at_fork", "killpg", "setsid", "getppid", "sysconf", "set_blocking",
         "eventfd", "eventfd_read", "eventfd_write", "getuid", "geteuid", "mkfifo", "uname"],
    select: ["poll", "epoll"],
    signal: ["SIGKILL", "SIGSTOP", "SIGHUP", "SIGQUIT", "SIGTSTP", "SIGUSR1", "SIGUSR2", "SIGCHLD",
             "SIGPIPE", "SIGALRM", "pthread_sigmask", "SIG_BLOCK", "SIG_UNBLOCK", "setitimer"],
    socket: ["AF_UNIX"],
}.items():
    for name in names:
        vars(module).pop(name, None)
for name in ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[name] = None
sys.platform = "win32"
import fbcli
for name in modules():
    importlib.import_module(name)
from fbcli.platform import system
print(type(system).__name__, len(modules()), "fbcli.platform.posix" in sys.modules)
"""


def test_every_module_is_imported_where_posix_is_absent(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ON_WINDOWS], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    name, count, loaded = done.stdout.split()
    assert (name, loaded) == ("Windows", "False")
    assert int(count) > 150, "all modules were imported"
