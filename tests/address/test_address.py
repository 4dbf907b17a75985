"""Addresses: their forms, their queues, importing what they name, and finding them without
importing."""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fbcli.address.address import Address, address_of, load
from fbcli.address.outline import find_addresses, parameter_names
from fbcli.address.source import read_source
from fbcli.errors import AddressNotFound, ExitCode, UsageError

Write = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project, the current folder; what tests import from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)
    importlib.invalidate_caches()
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")) or name.startswith(
            "fb_file_"
        ):
            del sys.modules[name]


@pytest.fixture
def write(root: Path) -> Write:
    """Write a file below the root."""

    def write(name: str, text: str = "") -> Path:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), "utf-8")
        importlib.invalidate_caches()
        return path

    return write


# --- the forms


@pytest.mark.parametrize(
    ("text", "module", "name", "queue"),
    [
        ("mymod:task", "mymod", "task", "mymod.task"),
        ("pkg.mod:Class.static", "pkg.mod", "Class.static", "pkg.mod.Class.static"),
        (" mymod:task ", "mymod", "task", "mymod.task"),
        ("jobs/crawl.py:fetch", "jobs/crawl.py", "fetch", "jobs.crawl.fetch"),
        ("./jobs/crawl.py:fetch", "jobs/crawl.py", "fetch", "jobs.crawl.fetch"),
        ("jobs/../crawl.py:fetch", "crawl.py", "fetch", "crawl.fetch"),
        ("jobs/__init__.py:fetch", "jobs/__init__.py", "fetch", "jobs.fetch"),
        ("my-jobs/a b.py:fetch", "my-jobs/a b.py", "fetch", "my-jobs.a_b.fetch"),
        ("/elsewhere/crawl.py:fetch", "/elsewhere/crawl.py", "fetch", "crawl.fetch"),
    ],
)
def test_forms(root: Path, text: str, module: str, name: str, queue: str) -> None:
    address = Address.parse(text)
    assert (address.module, address.name, address.queue) == (module, name, queue)
    assert str(address) == address.text == f"{module}:{name}"
    assert Address.parse(address.text) == address
    assert address.is_file == ("/" in module or module.endswith(".py"))


def test_paths_are_relative_to_the_root_wherever_they_are_written(
    root: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("jobs/crawl.py")
    assert Address.parse(f"{root}/jobs/crawl.py:fetch", root).module == "jobs/crawl.py"
    monkeypatch.chdir(root / "jobs")
    assert Address.parse("crawl.py:fetch", root).queue == "jobs.crawl.fetch"
    assert Address.parse("jobs/crawl.py:fetch", root).queue == "jobs.crawl.fetch"
    (root / "link").symlink_to(root / "jobs")
    assert Address.parse("../link/crawl.py:fetch", root).module == "link/crawl.py"
    assert Address.parse(f"{root}/jobs/crawl.py:fetch", root / "link").module == "crawl.py"


def test_queues_of_other_scripts_stay_apart() -> None:
    first, second = Address.parse("任务:发送").queue, Address.parse("任务:接收").queue
    assert first != second
    for queue in (first, second):
        assert queue.startswith("__.__-")
        assert queue.isascii()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("mymod.task", "write mymod:task"),
        ("mymod", "mymod:FUNCTION"),
        ("mymod:", "mymod:FUNCTION"),
        ("jobs/crawl.py", "jobs/crawl.py:FUNCTION"),
        ("jobs/crawl:fetch", "write jobs/crawl.py:fetch or jobs.crawl:fetch"),
        ("mymod:task()", "write it without parentheses, mymod:task"),
        ("my-mod:task", "for a file write my-mod.py:task"),
        ("", "like mymod:task"),
        (":", "like mymod:task"),
        (":task", "like mymod:task"),
        ("mymod::task", "like mymod:task"),
        ("mymod:1task", "'1task' is no function's name"),
        ("mymod:class", "'class' is no function's name"),
        ("mymod:f.<locals>.g", "no function's name"),
        ("mymod:a..b", "no function's name"),
    ],
)
def test_what_is_no_address_says_the_right_form(root: Path, text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        Address.parse(text)
    assert hint in str(caught.value)
    assert caught.value.exit_code == ExitCode.USAGE


def test_without_a_colon_the_source_tells_where_it_belongs(write: Write) -> None:
    write("pkg/mod.py", "class Crawler:\n    @staticmethod\n    def fetch(): ...\n")
    with pytest.raises(UsageError, match=r"write pkg\.mod:Crawler\.fetch\."):
        Address.parse("pkg.mod.Crawler.fetch")


# --- importing

EVERY_KIND = """
    import functools

    def plain(x): return x
    async def coroutine(x): return x
    class Class:
        @staticmethod
        def static(x): return x
        @classmethod
        def of_class(cls, x): return x
        def of_object(self, x): return x
        class Inner:
            @staticmethod
            def static(x): return x
    part = functools.partial(plain, 1)
    class Wrapper:
        def __init__(self, function): functools.update_wrapper(self, function)
        def __call__(self, *args): return self.__wrapped__(*args)
    wrapped = Wrapper(plain)
    bound = Class().of_object
    number = 5
    def task_one(): ...
"""


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "coroutine",
        "Class.static",
        "Class.of_class",
        "Class.Inner.static",
        "part",
        "wrapped",
        "bound",
    ],
)
def test_load_returns_what_can_be_called(root: Path, write: Write, name: str) -> None:
    write("kinds.py", EVERY_KIND)
    found = load(Address.parse(f"kinds:{name}"), root)
    expected: object = sys.modules["kinds"]
    for part in name.split("."):
        expected = getattr(expected, part)
    assert found == expected
    assert callable(found)
    assert load(Address.parse(f"kinds.py:{name}"), root) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "kinds:task_onee",
            r"There is no function 'task_onee' in kinds\. Did you mean 'task_one'\?",
        ),
        ("kinds:zzz", r"There is no function 'zzz' in kinds\. It has Class, "),
        (
            "kinds:Class.statik",
            r"There is no function 'statik' in kinds:Class\. Did you mean 'static'\?",
        ),
        ("kinds:Class", "kinds:Class is a class: name a function"),
        ("kinds:number", "kinds:number is of type int, not a function"),
        ("kinds:Class.of_object", "a method that needs an object"),
        (
            "kinda:plain",
            r"There is no module 'kinda', neither in .* nor installed\. Did you mean 'kinds'\?",
        ),
        ("deep:plain", r"There is no module 'deep'.* Did you mean 'pkg\.deep'\?"),
        ("pkg.deeper:plain", r"There is no module 'pkg\.deeper'.* Did you mean 'pkg\.deep'\?"),
        ("kinds.sub:plain", r"There is no module 'kinds\.sub'"),
        ("kindz.py:plain", r"There is no file '.*kindz\.py'\. Did you mean 'kinds\.py:plain'\?"),
        (
            "exits:f",
            r"Importing 'exits' failed: SystemExit: 3 \(.*exits\.py:3\)\. A module must not exit",
        ),
        ("broken:f", r"Importing 'broken' failed: SyntaxError: .* \(.*broken\.py:2\)"),
        ("fails:f", r"Importing 'fails' failed: ValueError: boom \(.*pkg/deep\.py:3\)"),
        ("fails.py:f", r"Importing 'fails\.py' failed: ValueError: boom \(.*pkg/deep\.py:3\)"),
        (
            "needs:f",
            (
                r"Importing 'needs' failed: ModuleNotFoundError: No module named 'not_there'"
                r" \(.*needs\.py:1\)"
            ),
        ),
        ("stdlib:f", r"Importing 'stdlib' failed: JSONDecodeError: .* \(.*stdlib\.py:2\)"),
    ],
)
def test_load_says_what_is_wrong(root: Path, write: Write, text: str, sentence: str) -> None:
    write("kinds.py", EVERY_KIND)
    write("pkg/deep.py", "def plain(): ...\ndef raises():\n    raise ValueError('boom')\n")
    write("exits.py", "import sys\ndef main():\n    sys.exit(3)\nmain()\ndef f(): ...\n")
    write("broken.py", "def f(): ...\ndef g(:\n")
    write("fails.py", "from pkg.deep import raises\nraises()\ndef f(): ...\n")
    write("needs.py", "import not_there\n")
    write("stdlib.py", "import json\njson.loads('{')\n")
    with pytest.raises(AddressNotFound) as caught:
        load(Address.parse(text), root)
    caught.match(sentence)
    assert caught.value.exit_code == ExitCode.NOT_FOUND


def test_a_module_whose_error_cannot_say_what_it_is(root: Path, write: Write) -> None:
    write(
        "mute.py",
        "class Mute(Exception):\n    def __str__(self): raise KeyError\nraise Mute\ndef f(): ...\n",
    )
    with pytest.raises(AddressNotFound, match="failed: Mute: its text could not be made: KeyError"):
        load(Address.parse("mute:f"), root)


def test_interrupting_an_import_is_not_an_error_of_the_module(root: Path, write: Write) -> None:
    write("slow.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load(Address.parse("slow:f"), root)


def test_a_failed_import_can_be_repaired(root: Path, write: Write) -> None:
    path = write(
        "json.py", "raise ValueError\n"
    )  # a name that the standard library has: imported as a file
    address = Address.parse("json.py:f")
    with pytest.raises(AddressNotFound):
        load(address, root)
    path.write_text("def f(): return 1\n")
    assert load(address, root)() == 1


def test_the_root_is_put_on_the_path_once(root: Path, write: Write) -> None:
    write("one.py", "def f(): ...\n")
    for _ in range(3):
        load(Address.parse("one:f"), root)
    place = sys.path.index(str(root))
    libraries = [index for index, entry in enumerate(sys.path) if "-packages" in entry]
    assert sys.path.index(os.path.dirname(os.__file__)) < place < libraries[0]
    assert sys.path.count(str(root)) == 1


def test_pythons_own_modules_go_before_files_of_their_name(root: Path, write: Write) -> None:
    write("mailbox.py", "def mine(): return 1\n")
    write("reads_mail.py", "def f():\n    import mailbox\n    return mailbox.__file__\n")
    assert not load(Address.parse("reads_mail:f"), root)().startswith(str(root))
    with pytest.raises(AddressNotFound, match=r"Write mailbox.py:mine, or give the file another"):
        load(Address.parse("mailbox:mine"), root)
    assert load(Address.parse("mailbox.py:mine"), root)() == 1


@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("top.py", "top"),
        ("jobs/crawl.py", "jobs.crawl"),
        ("package/__init__.py", "package"),
        ("package/part.py", "package.part"),
        ("my-jobs/a-b.py", "my-jobs.a-b"),
        ("src/lib/mod.py", "lib.mod"),
    ],
)
def test_a_file_is_imported_under_its_modules_name(
    root: Path, write: Write, file: str, module: str
) -> None:
    write("package/__init__.py", "def f(): ...\n")
    write(file, "def f(): ...\n")
    function = load(Address.parse(f"{file}:f"), root)
    assert function.__module__ == module
    assert load(Address.parse(f"./{file}:f"), root) is function
    assert pickle.loads(pickle.dumps(function)) is function  # noqa: S301
    if module.replace(".", "").isidentifier():
        assert load(Address.parse(f"{module}:f"), root) is function


def test_files_outside_the_root_are_imported_as_python_does(root: Path, write: Write) -> None:
    write("project/x.py")
    write("other/script.py", "import beside\nfrom beside import f\ndef g(): ...\n")
    write("other/beside.py", "def f(): ...\n")
    write("third/pack/__init__.py")
    write("third/pack/inner.py", "from . import __name__ as above\ndef f(): return above\n")
    project = root / "project"
    assert load(Address.parse("other/script.py:f", project), project).__module__ == "beside"
    assert load(Address.parse("other/script.py:g", project), project).__module__ == "script"
    assert load(Address.parse("third/pack/inner.py:f", project), project)() == "pack"


def test_a_script_in_a_folder_finds_the_scripts_beside_it(root: Path, write: Write) -> None:
    write("jobs/crawl.py", "import parse_pages\ndef fetch(): return parse_pages.name\n")
    write("jobs/parse_pages.py", "name = 'found'\n")
    assert load(Address.parse("jobs/crawl.py:fetch"), root)() == "found"
    assert sys.path.index(str(root)) < sys.path.index(str(root / "jobs"))


@pytest.mark.parametrize("file", ["queue.py", "with.dots.py"])
def test_a_file_that_no_module_name_leads_to_is_one_module_all_the_same(
    root: Path, write: Write, file: str
) -> None:
    write(file, "class Kept: ...\ndef f(): return Kept\n")
    importlib.import_module("queue")
    function = load(Address.parse(f"{file}:f"), root)
    assert load(Address.parse(f"{root}/{file}:f"), root) is function
    assert pickle.loads(pickle.dumps(function)) is function  # noqa: S301
    assert importlib.import_module("queue").Queue


def test_functions_of_files_reach_spawned_processes(root: Path, write: Write) -> None:
    write("inside/file.py", "def double(x): return 2 * x\n")
    write("outside/elsewhere.py", "def triple(x): return 3 * x\n")
    double = load(Address.parse("inside/file.py:double"), root)
    triple = load(Address.parse("outside/elsewhere.py:triple", root / "inside"), root / "inside")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(double, [1, 2]) == [2, 4]
        assert pool.map(triple, [1, 2]) == [3, 6]


# --- from a function


def decorated(x: int) -> int:
    return x


class Holder:
    @staticmethod
    def static() -> None: ...

    @classmethod
    def of_class(cls) -> None: ...

    def of_object(self) -> None: ...


def test_address_of_functions() -> None:
    assert address_of(decorated).text == f"{__name__}:decorated"
    assert address_of(Holder.static).text == f"{__name__}:Holder.static"
    assert address_of(Holder.of_class).text == f"{__name__}:Holder.of_class"
    assert address_of(functools.wraps(decorated)(lambda x: x)).text == f"{__name__}:decorated"
    assert address_of(time.sleep).text == "time:sleep"
    assert address_of(textwrap.dedent).queue == "textwrap.dedent"


def test_what_has_no_address_is_explained() -> None:
    def local() -> None: ...

    with pytest.raises(UsageError, match="defined inside another function"):
        address_of(local)
    with pytest.raises(UsageError, match="a lambda"):
        address_of(lambda: None)
    with pytest.raises(UsageError, match="belongs to an object"):
        address_of(Holder().of_object)
    with pytest.raises(UsageError, match="has no address: write a function"):
        address_of(functools.partial(decorated, 1))


PRINTS_ITSELF = (
    "def task(): ...\nfrom fbcli.address.address import address_of\nprint(address_of(task).text)\n"
)


@pytest.mark.parametrize(
    ("file", "command", "text"),
    [
        ("jobs/crawl.py", ["jobs/crawl.py"], "jobs.crawl:task"),
        ("crawl.py", ["crawl.py"], "crawl:task"),
        ("my jobs/crawl.py", ["my jobs/crawl.py"], "my jobs/crawl.py:task"),
        ("my.script.py", ["my.script.py"], "my.script.py:task"),
        ("jobs/crawl.py", ["-m", "jobs.crawl"], "jobs.crawl:task"),
        ("jobs/__main__.py", ["-m", "jobs"], "jobs.__main__:task"),
    ],
)
def test_a_running_script_is_addressed_by_its_file(
    write: Write, file: str, command: list[str], text: str
) -> None:
    write(file, PRINTS_ITSELF)
    shown = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == text


def test_what_was_typed_in_has_no_address(root: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", PRINTS_ITSELF], capture_output=True, text=True, check=False
    )
    assert "task has no address, since it was typed in" in shown.stderr


# --- finding


@pytest.fixture
def project(write: Write) -> None:
    write(
        "mymod.py",
        """
        import sys
        raise SystemExit("it must not be imported")
        def task(x: int, y: "int | None" = None, *rest, z=[1, 2], **more): ...
        async def fetch(url): ...
        def _private(): ...
        class Crawler:
            def run(self, page: str): ...
            @staticmethod
            def static(a, /, b=1): ...
            @classmethod
            def of_class(cls, c): ...
            @staticmethod
            def _hidden(): ...
        class _Private:
            @staticmethod
            def static(): ...
        if sys.platform == "never":
            def on_one_platform(): ...
        else:
            try:
                def otherwise(): ...
            except ImportError: ...
        if __name__ == "__main__":
            def script(): ...
        """,
    )
    write("mymodels.py", "def train(): ...\n")
    write("pkg/__init__.py", "def start(): ...\n")
    write("pkg/mod.py", "def go(): ...\ntext = '\\d'\n")
    write("pkg/broken.py", "def go(:\n")
    write("pkg/odd.py", "x = '\\udc80'\n")
    (Path("pkg") / "latin.py").write_bytes(b"def g(): return '\xff'\n")
    write("my-scripts/run-me.py", "def go(): ...\n")
    for hidden in (
        ".git/hook.py",
        "node_modules/a.py",
        "env2/lib.py",
        "tests/test_a.py",
        "build/b.py",
        "test_c.py",
    ):
        write(hidden, "def never(): ...\n")
    write("env2/pyvenv.cfg")
    os.symlink("pkg", "pkg/loop")
    os.symlink("self", "self")
    os.symlink("nowhere.py", "dangling.py")


OF_MYMOD = ["task", "fetch", "Crawler.static", "Crawler.of_class", "on_one_platform", "otherwise"]


@pytest.mark.usefixtures("project")
def test_find_addresses_by_module(root: Path) -> None:
    everything = find_addresses(root)
    assert {f"mymod:{name}" for name in OF_MYMOD} | {
        "mymodels:train",
        "pkg:start",
        "pkg.mod:go",
    } <= set(everything)
    assert not [
        each
        for each in everything
        if "never" in each or "script" in each or "rivate" in each or "hidden" in each
    ]
    assert find_addresses(root, "mymod:") == [f"mymod:{name}" for name in OF_MYMOD]
    assert find_addresses(root, "mymod:Crawler.s") == ["mymod:Crawler.static"]
    assert find_addresses(root, "mymode") == ["mymodels:train"]
    assert find_addresses(root, "pkg.m") == ["pkg.mod:go"]
    assert find_addresses(root, "pkg:") == ["pkg:start"]
    assert find_addresses(root, "pkg.broken:") == []
    assert find_addresses(root, "pkg.nothing:") == []
    assert find_addresses(root, "nothing") == []
    assert find_addresses(root / "nowhere") == []


@pytest.mark.usefixtures("project")
def test_find_addresses_by_path(root: Path) -> None:
    assert find_addresses(root, "pkg/mo") == ["pkg/mod.py:go"]
    assert find_addresses(root, "./pkg/mo") == ["./pkg/mod.py:go"]
    assert find_addresses(root, f"{root}/pkg/mo") == [f"{root}/pkg/mod.py:go"]
    assert find_addresses(root, "pkg/mod.py:g") == ["pkg/mod.py:go"]
    assert find_addresses(root, "my-") == ["my-scripts/"]
    assert find_addresses(root, "my-scripts/") == ["my-scripts/run-me.py:go"]
    assert find_addresses(root, "pkg/nothing.py:") == []


@pytest.mark.usefixtures("project")
def test_find_addresses_reads_no_more_than_it_may(root: Path) -> None:
    few = find_addresses(root, limit=1)
    assert [f"mymod:{name}" for name in OF_MYMOD] == few[: len(OF_MYMOD)]
    assert few[len(OF_MYMOD)] == "mymodels:"
    assert "pkg.mod:" in few
    assert find_addresses(root, limit=None) == find_addresses(root)


def test_a_src_folder_is_no_package(root: Path, write: Write) -> None:
    write("src/lib/mod.py", "def f(): return 1\n")
    assert find_addresses(root) == ["lib.mod:f"]
    assert find_addresses(root, "lib.mod:") == ["lib.mod:f"]
    assert load(Address.parse("lib.mod:f"), root)() == 1


@pytest.mark.usefixtures("project")
def test_parameter_names_are_read_from_the_source(root: Path) -> None:
    assert parameter_names(root, "mymod:task") == [
        ("x", "int", None),
        ("y", "'int | None'", "None"),
        ("z", "", "[1, 2]"),
    ]
    assert parameter_names(root, "mymod.py:fetch") == [("url", "", None)]
    assert parameter_names(root, "mymod:Crawler.static") == [("a", "", None), ("b", "", "1")]
    assert parameter_names(root, "mymod:Crawler.of_class") == [("c", "", None)]
    assert parameter_names(root, "mymod:Crawler.run") == [("page", "str", None)]
    for absent in ("mymod:nothing", "mymod:Nothing.at", "pkg.broken:go", "nowhere:f", "mymod", ""):
        assert parameter_names(root, absent) == []


def test_completing_a_function_reads_its_module_alone(
    root: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(150):
        write(
            f"part{index % 10}/module{index}.py",
            "def go(x: int, y: str = 'a') -> None:\n    print(x, y)\n",
        )
    read: list[str] = []

    def note_and_read(path: Path) -> bytes:
        read.append(path.name)
        return read_source(path)

    monkeypatch.setattr("fbcli.address.outline.read_source", note_and_read)
    assert find_addresses(root, "part3.module13:g") == ["part3.module13:go"]
    assert read == ["module13.py"]
    read.clear()
    assert len(find_addresses(root)) == 150
    assert len(read) == 150


def test_importing_it_is_cheap() -> None:
    code = (
        "import sys, fbcli.address.address, fbcli.arguments.signature; print([n for n in"
        " ('pydantic', 'typer', 'rich') if n in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )
