"""Where settings come from, which win, and the connections that follow from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fbcli.broker import Outgoing
from fbcli.clients.files import absolute
from fbcli.errors import BadSetting, UsageError
from fbcli.options.publishing import PUBLISHING
from fbcli.settings import FILE, Settings, load
from fbcli.stores import store_beside

HOME = {"HOME": "/nowhere"}


def settings(
    folder: Path, text: str = "", env: dict[str, str] | None = None, **flags: Any
) -> Settings:
    if text:
        (folder / FILE).write_text(text, encoding="utf-8")
    return load(folder, {**HOME, **(env or {})}, **flags)


# --- where from


def test_without_any_file_it_is_the_embedded_default(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert (found.root, found.file, found.context) == (tmp_path, None, None)
    assert found.broker == (f"sqlite:///{tmp_path}/.fb/queue.db", "built-in")
    assert found.store == (f"sqlite:///{tmp_path}/.fb/queue.store.db", "beside the broker")


def test_the_nearest_file_upward_is_the_projects(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.fb]\nbroker = "sqlite:///x.db"\n')
    found = load(below, HOME)
    assert (found.root, found.broker.value) == (tmp_path, f"sqlite:///{tmp_path}/x.db")
    (tmp_path / "a" / "pyproject.toml").write_text('[tool.other]\nx = 1\n[project]\nname = "n"\n')
    assert load(below, HOME).root == tmp_path
    (tmp_path / "a" / FILE).write_text('broker = "memory://"\n')
    assert load(below, HOME).broker.value == "memory://"
    assert load(tmp_path, HOME).broker.value == f"sqlite:///{tmp_path}/x.db"


def test_flags_win_over_variables_these_over_the_context_it_over_files(tmp_path: Path) -> None:
    text = 'broker = "redis://file/0"\ncontext = "dev"\n[contexts.dev]\nbroker = "redis://dev/0"\n'
    env = {"FB_BROKER": "redis://variable/0"}
    (tmp_path / "user" / "fbcli").mkdir(parents=True)
    (tmp_path / "user" / "fbcli" / "config.toml").write_text(
        'broker = "redis://user/0"\n[contexts.mine]\nbroker = "redis://mine/0"\n'
    )
    user = {"XDG_CONFIG_HOME": str(tmp_path / "user")}
    assert (
        settings(tmp_path, text, {**env, **user}, broker="redis://flag/0").broker.source == "flag"
    )
    assert settings(tmp_path, env={**env, **user}).broker == ("redis://variable/0", "FB_BROKER")
    assert settings(tmp_path, env=user).broker == ("redis://dev/0", "context dev")
    assert settings(tmp_path, env=user, context="mine").broker.value == "redis://mine/0"
    named = settings(tmp_path, env={**user, "FB_CONTEXT": "mine"})
    assert (named.context, named.context_source) == ("mine", "FB_CONTEXT")
    (tmp_path / FILE).write_text("")
    assert settings(tmp_path, env=user).broker.value == "redis://user/0"


def test_options_of_one_function_by_their_places(tmp_path: Path) -> None:
    text = "[defaults]\nretries = 1\nqps = 1\ntimeout = 1\nbatch = 1\n[tasks.'m:f']\nqps = 2\n"
    found = settings(
        tmp_path, text, {"FB_TIMEOUT": "4", "FB_QUEUE": "no", "FB_BROKER": "memory://"}
    )
    origins = found.origins("m:f", {"batch": 3, "timeout": 3}, {"dead": False})
    for name, origin in {
        "retries": (1, "fb.toml [defaults]"),
        "qps": (2, "fb.toml [tasks.\"m:f\"]"),
        "batch": (3, "@boost"),
        "timeout": ("4", "FB_TIMEOUT"),
        "dead": (False, "flag"),
        "drain": (25.0, "built-in"),
        "queue": (None, "built-in"),
        "broker": (None, "built-in"),
    }.items():  # fmt: skip
        assert origins[name] == origin
    options = found.options("m:f", {"batch": 3, "timeout": 3}, {"dead": False})
    assert (options.qps, options.timeout, options.batch, options.dead) == (2.0, 4.0, 3, False)
    assert found.options("m:other").qps == 1.0


def test_a_wrong_value_is_told_with_its_place(tmp_path: Path) -> None:
    found = settings(tmp_path, "[tasks.'m:f']\nretries = -1\n")
    with pytest.raises(
        BadSetting, match=r'^fb\.toml \[tasks\."m:f"\]: retries = -1 cannot be used'
    ):
        found.options("m:f")
    assert found.options("m:g").retries == 3
    with pytest.raises(BadSetting, match=r"^FB_QPS: qps = 'fast' cannot be used: write a number"):
        settings(tmp_path, env={"FB_QPS": "fast"}).values(None)


def test_who_publishes_looks_at_what_is_its_matter(tmp_path: Path) -> None:
    found = settings(tmp_path, "[tasks.'m:f']\nretries = -1\npriority = 3\n")
    assert found.values("m:f", None, {"queue": "q"}, known=PUBLISHING) == {
        "queue": "q",
        "broker": None,
        "priority": 3,
        "batch": None,
    }
    with pytest.raises(BadSetting, match="priority = 99 cannot be used"):
        found.values("m:f", {"priority": 99}, known=PUBLISHING)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("brokre = 'memory://'", "sets 'brokre', which is not a setting. Did you mean 'broker'?"),
        (
            "[defaults]\nretrys = 1",
            "sets 'retrys', which is not an option. Did you mean",
        ),
        ("[tasks.'m:f']\nqsp = 1", "sets 'qsp', which is not an option. Did you mean 'qps'?"),
        ("[contexts.dev]\ndefualts = 1", "[contexts.dev] sets 'defualts', which is not a setting"),
        ("contexts = 5", "[contexts] must be a table"),
        ("[contexts]\ndev = 5", "every entry of [contexts] must be a table"),
        ("context = 'dve'\n[contexts.dev]", "no context 'dve'. Did you mean 'dev'?"),
        ("broker = 5", "a broker is a URL in quotes"),
        ("broker = 'redis://:${NOT_SET}@h/0'", "uses ${NOT_SET}, and there is no such variable"),
        ("broker =", "is not TOML"),
    ],
)
def test_what_makes_no_sense_is_told_when_it_is_read(
    tmp_path: Path, text: str, sentence: str
) -> None:
    with pytest.raises(BadSetting) as caught:
        settings(tmp_path, text)
    assert sentence in str(caught.value)


def test_secrets_are_expanded_and_never_shown(tmp_path: Path) -> None:
    found = settings(
        tmp_path, 'broker = "redis://:${PW}@h/0"', {"PW": "p4ss", "TOKEN": "p4ss, too"}
    )
    assert found.broker_url == "redis://:p4ss@h/0"
    assert "p4ss" not in repr(found)
    assert "redis://:***@h/0" in repr(found)


# --- URLs of files


def test_a_file_is_meant_from_where_it_is_written(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('broker = "sqlite:///x.db"\n')
    below = tmp_path / "below"
    below.mkdir()
    assert load(below, HOME).broker_url == f"sqlite:///{tmp_path}/x.db"
    assert load(below, HOME, broker="sqlite:///y.db").broker_url == f"sqlite:///{below}/y.db"
    assert load(below, HOME).meant("sqlite:///z.db") == f"sqlite:///{tmp_path}/z.db"
    for url in ("sqlite:////x.db", "sqlite:///~/x.db", "redis:///0", "memory://", "nonsense"):
        assert absolute(url, below) == url


def test_the_store_beside_a_broker(tmp_path: Path) -> None:
    assert store_beside("redis://h/0", tmp_path) == "redis://h/0"
    assert store_beside("redis+list://h/0", tmp_path) == "redis+list://h/0"
    assert store_beside("sqlite:////a.b/q.db", tmp_path) == "sqlite:////a.b/q.store.db"
    assert store_beside("sqlite:////a.b/q", tmp_path) == "sqlite:////a.b/q.store"
    assert store_beside("nats://h", tmp_path) == f"sqlite:///{tmp_path}/store.db"


# --- connections


def test_one_broker_and_one_store_for_each_url(tmp_path: Path) -> None:
    found = settings(tmp_path)
    broker, store = found.open_broker(), found.open_store()
    assert found.open_broker() is broker is found.open_broker(found.broker_url)
    assert found.open_store() is store
    other = found.open_broker("memory://")
    assert other is not broker
    found.close()
    assert found.open_broker() is not broker
    found.close()
    found.close()


def test_the_folder_of_the_embedded_default_is_made_and_ignored_by_git(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert not (tmp_path / ".fb").exists()
    found.open_broker().publish("q", [Outgoing(b"{}")])
    found.close()
    assert (tmp_path / ".fb" / ".gitignore").read_text() == "*\n"
    elsewhere = settings(tmp_path, broker=f"sqlite:///{tmp_path}/other/queue.db")
    elsewhere.open_broker().publish("q", [Outgoing(b"{}")])
    elsewhere.close()
    assert not (tmp_path / "other" / ".gitignore").exists()


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match=r"--broker sqlite:////path/queue\.db or FB_BROKER"):
            settings(tmp_path).open_broker()
    finally:
        tmp_path.chmod(0o700)
