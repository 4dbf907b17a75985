"""`fb init`, `fb config`, `fb brokers`: setting up."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fbcli.broker import Capabilities
from fbcli.brokers import SCHEMES
from fbcli.options.model import Options
from tests.cli.shell import Ran, Shell


def shown(ran: Ran) -> dict[str, dict[str, Any]]:
    """The rows of a table printed as JSON, by their first cell."""
    return {next(iter(row.values())): row for row in ran.objects}


# --- init


def test_init_writes_a_file_that_names_every_option(fb: Shell) -> None:
    ran = fb.ok("init")
    assert ran.out == ""
    assert "fb push mymod:add NAME=VALUE" in ran.err
    text = (fb.folder / "fb.toml").read_text()
    for name in Options.model_fields.keys() - {"queue", "broker"}:
        assert re.search(rf"^# {name} = ", text, re.MULTILINE), name
    assert fb.ok("config", "check").code == 0
    before = shown(fb.ok("config", "show", "--json"))
    fb.write(
        "fb.toml",
        re.sub(r"^# (\w+ = [^…\n]+)$", r"\1", text, flags=re.MULTILINE).replace(
            "[contexts.dev]", ""
        ),
    )
    assert fb("config", "show").code in (0, 2)
    assert before["broker"]["source"] == "built-in"


def test_the_options_in_it_are_the_built_in_values(fb: Shell) -> None:
    fb.ok("init")
    built_in = shown(fb.ok("config", "show", "--json"))
    text = (fb.folder / "fb.toml").read_text()
    fb.write("fb.toml", re.sub(r"^# (\w+ = [^…\n]*)(?= +#)", r"\1", text, flags=re.MULTILINE))
    now = shown(fb.ok("config", "show", "--json"))
    assert {name: row["value"] for name, row in now.items()} == {
        name: row["value"] for name, row in built_in.items()
    }
    assert now["retries"]["source"] == "fb.toml [defaults]"
    assert built_in["retries"]["source"] == "built-in"


def test_init_does_not_overwrite(fb: Shell) -> None:
    fb.write("fb.toml", "# mine\n")
    ran = fb("init")
    assert ran.code == 6
    assert "fb init --force" in ran.err
    assert (fb.folder / "fb.toml").read_text() == "# mine\n"
    assert fb.ok("init", "--force", "--json").json == {"file": str(fb.folder / "fb.toml")}
    assert (fb.folder / "fb.toml").read_text() != "# mine\n"


def test_init_with_a_broker(fb: Shell) -> None:
    fb.ok("init", "--broker", "sqlite:///jobs.db")
    assert shown(fb.ok("config", "show", "--json"))["broker"] == {
        "setting": "broker",
        "value": f"sqlite:///{fb.folder}/jobs.db",
        "source": str(fb.folder / "fb.toml"),
    }
    ran = fb("init", "--force", "--broker", "redsi://h")
    assert ran.code == 2
    assert "Did you mean 'redis'?" in ran.err
    assert (
        "write ${NAME} in its place"
        in fb.ok("init", "--force", "--broker", "redis://:secret@h/0").err
    )
    assert "${NAME}" not in fb.ok("init", "--force", "--broker", "redis://:${PW}@h/0").err


# --- config show


def test_show_says_where_each_value_comes_from(fb: Shell) -> None:
    fb.write(
        "fb.toml",
        '[defaults]\nretries = 1\nqps = 1\n[tasks."work:task"]\nqps = 2\n'
        '[contexts.dev]\nbroker = "sqlite:///dev.db"\n[contexts.dev.defaults]\ndrain = "1m"\n',
    )
    fb.write(
        "work.py",
        "from fbcli import boost\n@boost(qps=3, timeout='5m')\ndef task(): ...\ndef other(): ...\n",
    )
    rows = shown(
        fb.ok("config", "show", "work:task", "--json", "--context", "dev", env={"FB_EXPIRES": "60"})
    )
    assert (rows["qps"]["value"], rows["qps"]["source"]) == (3, "@boost")
    assert (rows["timeout"]["value"], rows["timeout"]["source"]) == (300, "@boost")
    assert (rows["retries"]["value"], rows["retries"]["source"]) == (1, "fb.toml [defaults]")
    assert (rows["drain"]["value"], rows["drain"]["source"]) == (60, "context dev [defaults]")
    assert (rows["expires"]["value"], rows["expires"]["source"]) == (60, "FB_EXPIRES")
    assert (rows["backoff"]["value"], rows["backoff"]["source"]) == (0, "built-in")
    assert (rows["queue"]["value"], rows["queue"]["source"]) == ("work.task", "the address")
    assert (rows["context"]["value"], rows["context"]["source"]) == ("dev", "flag")
    assert (rows["broker"]["value"], rows["broker"]["source"]) == (
        f"sqlite:///{fb.folder}/dev.db",
        "context dev",
    )
    rows = shown(
        fb.ok(
            "config",
            "show",
            "mymod:add",
            "--json",
            env={"FB_CONTEXT": "dev", "FB_BROKER": "memory://"},
        )
    )
    assert rows["qps"]["value"] == 1
    assert rows["context"]["source"] == "FB_CONTEXT"
    assert (rows["broker"]["value"], rows["broker"]["source"]) == ("memory://", "FB_BROKER")
    rows = shown(fb.ok("config", "show", "--json", "--broker", "memory://"))
    assert rows["broker"]["source"] == "flag"
    assert not list(fb.folder.glob("**/*.db"))


def test_the_options_of_a_task_in_the_file(fb: Shell) -> None:
    fb.write("fb.toml", '[tasks."mymod:add"]\nqueue = "sums"\nbroker = "sqlite:///sums.db"\n')
    rows = shown(fb.ok("config", "show", "mymod:add", "--json"))
    assert (rows["queue"]["value"], rows["queue"]["source"]) == (
        "sums",
        'fb.toml [tasks."mymod:add"]',
    )
    assert rows["broker"]["value"] == f"sqlite:///{fb.folder}/sums.db"
    assert fb.ok("push", "mymod:add", "x=1", "--json").json["queue"] == "sums"
    assert (fb.folder / "sums.db").exists()


def test_show_is_aligned_text_and_never_shows_a_password(fb: Shell) -> None:
    url = "redis://user:s3cret@10.0.0.5/0?ssl_password=s3cret"
    for words in (["--broker", url], ["--store", url]):
        for flag in ([], ["--json"]):
            ran = fb.ok("config", "show", *words, *flag)
            assert "s3cret" not in ran.out + ran.err
            assert "redis://user:***@10.0.0.5/0" in ran.out
    first, *rows = fb.ok("config", "show").lines
    assert first.split() == ["setting", "value", "source"]
    assert all(row[first.index("source") - 1] == " " for row in rows)
    fb.write("fb.toml", 'broker = "redis://user:${PASSWORD}@h/0"\n')
    assert "s3cret" not in fb.ok("config", "show", env={"PASSWORD": "s3cret"}).out
    ran = fb("config", "show")
    assert ran.code == 2
    assert "uses ${PASSWORD}, and there is no such variable" in ran.err


def test_an_error_never_shows_a_password(fb: Shell) -> None:
    ran = fb("push", "mymod:add", "x=1", "--broker", "redis://:s3cret@127.0.0.1:1/0")
    assert ran.code == 4
    assert "s3cret" not in ran.err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "[defaults]\nretires = 5\n",
            "sets 'retires', which is not an option. Did you mean 'retries'?",
        ),
        ("broker = 5\n", "a broker is a URL in quotes"),
        ("brokr = 'x'\n", "Did you mean 'broker'?"),
        ("context = 'prod'\n", "There is no context 'prod'."),
        ("x = \n", "is not TOML"),
        ("[defaults]\nretries = -1\n", "retries = -1 cannot be used"),
    ],
)
@pytest.mark.parametrize("command", ["show", "check"])
def test_a_file_that_makes_no_sense(fb: Shell, command: str, text: str, sentence: str) -> None:
    fb.write("fb.toml", text)
    ran = fb("config", command)
    assert ran.code == 2
    assert sentence in ran.out + ran.err
    assert "Traceback" not in ran.err


# --- config check


def test_check_looks_at_everything(fb: Shell) -> None:
    fb.write(
        "pkg/work.py",
        "raise SystemExit('imported')\nfrom os import getcwd\n"
        "async def task(): ...\nother = task\n"
        "class Site:\n    @staticmethod\n    def fetch(): ...\n",
    )
    tasks = [
        "pkg.work:task",
        "pkg.work:other",
        "pkg.work:getcwd",
        "pkg.work:Site.fetch",
        "mymod.py:add",
        "json:dumps",
    ]
    fb.write("fb.toml", "".join(f'[tasks."{task}"]\nqps = 5\n' for task in tasks))
    ran = fb.ok("config", "check", "--json")
    assert all(row["ok"] for row in ran.objects)
    assert [row["check"] for row in ran.objects] == [
        "settings", "[defaults]", *(f'[tasks."{task}"]' for task in tasks), "broker", "store"
    ]  # fmt: skip
    assert "check" in fb.ok("config", "check").lines[0]


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        ('[tasks."mymod:nope"]\nqps = 5\n', 3, "There is no function 'nope' in mymod."),
        ('[tasks."mymod:ad"]\nqps = 5\n', 3, "Did you mean 'mymod:add'?"),
        ('[tasks."mymud:add"]\nqps = 5\n', 3, "There is no module 'mymud' below"),
        ('[tasks."nope.py:add"]\nqps = 5\n', 3, "There is no module 'nope.py'"),
        ('[tasks."./mymod.py:add"]\nqps = 5\n', 2, "write 'mymod.py:add'"),
        ('[tasks."mymod.add"]\nqps = 5\n', 2, "write mymod:add"),
        ('[tasks."mymod:add"]\nqps = "fast"\n', 2, "qps = 'fast' cannot be used"),
        ("[contexts.prod.defaults]\nretries = -1\n", 2, "retries = -1 cannot be used"),
        ('[contexts.prod]\nbroker = "nope://x"\n', 2, "No broker answers to 'nope://'"),
        ('broker = "redis://127.0.0.1:1/0"\nstore = "sqlite:///s.db"\n', 4, "cannot be reached"),
        ('store = "redis://127.0.0.1:1/0"\n', 4, "cannot be reached"),
        ('[tasks."mymod:add"]\nbroker = "redis://127.0.0.1:1/0"\n', 4, "cannot be reached"),
        ('broker = "redis://127.0.0.1:1/0"\n[tasks."mymod:nope"]\n', 3, "cannot be reached"),
    ],
)
def test_check_finds(fb: Shell, text: str, code: int, sentence: str) -> None:
    fb.write("fb.toml", text)
    ran = fb("config", "check", "--json")
    assert ran.code == code
    assert sentence in " ".join(row["detail"] for row in ran.objects if not row["ok"])
    assert sentence in fb("config", "check").out


# --- brokers


def test_brokers_lists_every_scheme_with_what_it_can(fb: Shell) -> None:
    entries = fb.ok("brokers", "--json").objects
    assert sorted(scheme for entry in entries for scheme in entry["schemes"]) == sorted(SCHEMES)
    for entry in entries:
        assert entry["problem"] is None
        assert entry["summary"]
        assert entry["capabilities"].keys() == set(Capabilities.__struct_fields__)
        assert entry["installed"] is True
    table = fb.ok("brokers").out
    for scheme in SCHEMES:
        assert f"{scheme}://" in table
    assert max(map(len, table.partition("\n\n")[0].splitlines())) <= 80


def test_brokers_says_what_each_is_without(fb: Shell) -> None:
    table = {line.split()[0]: line.split() for line in fb.ok("brokers").lines[:5]}
    heading = table["broker"]
    assert table["redis+list"][heading.index("count")] == "-"
    assert table["redis+list"][heading.index("delay")] == "-"
    assert table["sqlite"][heading.index("count")] == "lost"


def test_brokers_says_how_far_a_poorer_one_goes(fb: Shell) -> None:
    fb.write(
        "poor.py",
        """
from msgspec.structs import replace
from fbcli.brokers.memory import MemoryBroker
class Poor(MemoryBroker):
    capabilities = replace(
        MemoryBroker.capabilities, delay_publish=900.0, delivery_count="all", fencing=False,
        lease="connection", max_hold=43200.0, max_bytes=256_000, group=True,
    )
""",
    )
    fb.write("poor-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: poor\nVersion: 1\n")
    fb.write("poor-1.dist-info/entry_points.txt", "[fbcli.brokers]\npoor = poor:Poor\n")
    ran = fb.ok("brokers", env={"PYTHONPATH": str(fb.folder)})
    (row,) = [line for line in ran.lines if line.startswith("poor ")]
    assert "15 min" in row
    assert " all " in row
    for sentence in (
        "A consumer that was taken for dead may settle what others have by then.",
        "A consumer lives as long as its connection.",
        "A message is held for 12 h at most.",
        "A message has 256kB at most.",
        "?group=NAME: each group gets every message.",
    ):
        assert sentence in ran.out


def test_a_broker_that_cannot_be_used_is_listed_with_the_reason(fb: Shell) -> None:
    """Without redis-py, and with a package of somebody else that is broken."""
    fb.write("sitecustomize.py", "import sys\nsys.modules['redis'] = None\n")
    fb.write("odd-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    fb.write("odd-1.0.dist-info/entry_points.txt", "[fbcli.brokers]\nodd = odd:Odd\n")
    fb.write("odd.py", "1 / 0\n")
    env = {"PYTHONPATH": str(fb.folder)}
    entries = {entry["schemes"][0]: entry for entry in fb.ok("brokers", "--json", env=env).objects}
    assert entries["odd"]["problem"] == "ZeroDivisionError: division by zero"
    assert entries["redis"]["installed"] is False
    assert entries["redis"]["install"] == "pip install 'fbcli[redis]'"
    assert entries["sqlite"]["installed"] is True
    ran = fb.ok("brokers", env=env)
    assert "pip install 'fbcli[redis]'" in ran.out
    assert "odd://\n    ZeroDivisionError: division by zero\n" in ran.out
    ran = fb("push", "mymod:add", "x=1", "--broker", "redis://h", env=env)
    assert ran.code == 5
    assert "pip install 'fbcli[redis]'" in ran.err
