"""What can be completed, asked without any shell."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from fbcli import completion
from fbcli.commands._complete import complete, main
from fbcli.commands._listing import commands
from fbcli.errors import Unavailable
from fbcli.queues.lookup import find_queue
from tests.messages import letter, message, settings_in


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two functions, in which the test is run."""
    (tmp_path / "fb.toml").write_text("[contexts.dev]\n[contexts.prod]\n")
    (tmp_path / "mymod.py").write_text(
        "raise SystemExit('imported')\ndef task(x: int, y: int = 2, *rest, tag=None, **more):"
        " ...\nasync def other(): ...\n"
    )
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "crawl.py").write_text("def fetch(url): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("FB_BROKER", "FB_STORE", "FB_CONTEXT", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def texts(*words: str) -> list[str]:
    """What the last word can become."""
    return [candidate.text for candidate in complete(words[:-1], words[-1])]


def test_commands() -> None:
    assert texts("") == [*commands(), "--help", "--version"]
    assert texts("pe") == ["peek"]
    assert texts("dead", "") == ["ls", "show", "edit", "replay", "clear", "--help"]
    assert texts("dead", "re") == ["replay"]
    assert texts("nosuch", "") == texts("dead", "nosuch", "") == []


def test_every_command_can_be_completed() -> None:
    for name in commands():
        assert "--help" in texts(name, "--"), name
        assert all(candidate.help for candidate in complete([name], "--")), name


def test_options() -> None:
    assert texts("wait", "--t") == ["--timeout"]
    assert texts("wait", "--timeout", "5", "--t") == []
    assert texts("wait", "-t", "5", "--t") == []
    assert texts("wait", "--timeout=5", "--t") == []
    assert texts("dead", "edit", "q", "t", "--unset", "a", "--uns") == ["--unset"]
    assert texts("wait", "--", "--t") == []


def test_addresses_and_parameters_without_importing() -> None:
    assert texts("push", "my") == ["mymod:task", "mymod:other"]
    assert texts("push", "mymod:ta") == ["mymod:task"]
    assert texts("push", "jobs/") == ["jobs/crawl.py:fetch"]
    assert texts("push", "mymod:task", "") == ["x=", "y=", "tag="]
    assert texts("push", "mymod:task", "x=1", "y:=2", "") == ["tag="]
    assert texts("push", "--delay", "5", "mymod:task", "x") == ["x="]
    assert texts("push", "jobs/crawl.py:fetch", "") == ["url="]
    assert texts("push", "nosuch:task", "") == []
    assert complete(["push", "mymod:task"], "y")[0].help == "int = 2"
    assert "mymod" not in sys.modules


def test_files() -> None:
    assert texts("push", "mymod:task", "x=@") == [":files"]
    assert texts("push", "mymod:task", "x:=@da") == [":files"]
    assert texts("push", "mymod:task", "--from", "") == [":files"]
    assert texts("push", "mymod:task", "--from=a") == [":files"]


def test_urls_contexts_and_choices() -> None:
    assert (
        texts("peek", "--broker", "redis+l") == texts("peek", "-b", "redis+l") == ["redis+list://"]
    )
    assert texts("peek", "--broker=redis+l") == ["--broker=redis+list://"]
    assert "sqlite://" in texts("peek", "--store", "")
    assert texts("peek", "--context", "") == ["dev", "prod"]
    assert texts("peek", "--context=p") == ["--context=prod"]
    assert texts("completion", "") == ["bash", "zsh", "fish", "powershell"]
    assert texts("completion", "bash", "") == []
    assert texts("consume", "mymod:task", "--mode", "t") == ["threads"]


def test_queues(folder: Path) -> None:
    assert texts("wait", "my") == ["mymod:task", "mymod:other"]
    assert not (folder / ".fb").exists()  # looking makes no file
    with settings_in(folder) as settings:
        for name in ("orders", "other", "evil$(reboot)", "new\nline", "with space"):
            settings.open_broker().publish(name, [message(x=1)])
        find_queue("orders", settings).dead.publish([letter("a", x=1)])
    assert texts("wait", "") == ["orders", "other"]
    assert texts("wait", "oth") == ["other"]
    assert texts("wait", "orders", "") == ["orders", "other"]
    assert texts("peek", "orders", "") == []
    assert texts("dead", "ls", "") == ["orders"]
    assert texts("push", "--queue", "ord") == ["orders"]
    assert texts("wait", "mymod:") == ["mymod:task", "mymod:other"]


def test_task_ids(folder: Path) -> None:
    with settings_in(folder) as settings:
        queue = find_queue("mymod:task", settings)
        queue.dead.publish([letter("t1", "evil\x1b[2J", x=1), letter("t2", x=2)])
        queue.publish([message("later", delay=60, x=1)])
    assert (
        texts("dead", "show", "mymod:task", "")
        == texts("dead", "show", "mymod.task", "")
        == ["t1", "t2"]
    )
    assert texts("dead", "replay", "mymod:task", "t1", "") == ["t2"]
    assert texts("dead", "show", "mymod:task", "t1", "") == []
    assert texts("delayed", "cancel", "mymod:task", "") == ["later"]
    assert texts("delayed", "cancel", "") == ["mymod.task"]
    assert "mymod" not in sys.modules


def test_descriptions_are_safe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with settings_in(folder) as settings:
        find_queue("q", settings).dead.publish([letter("t1", "evil\x1b[2J\tx\ny", x=1)])
    main(["--current=", "dead", "show", "q"])
    assert capsys.readouterr().out == "t1\tValueError evil\\x1b[2J\\tx\n"


def test_the_options_of_the_line_count(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with settings_in(folder, f"sqlite:///{folder}/there.db") as settings:
        settings.open_broker().publish("over.there", [message(x=1)])
    assert texts("wait", "-b", "sqlite:///there.db", "over") == ["over.there"]
    assert texts("wait", "--broker=sqlite:///there.db", "over") == ["over.there"]
    monkeypatch.setenv("FB_BROKER", "sqlite:///there.db")
    assert texts("wait", "over") == ["over.there"]


@pytest.mark.parametrize(
    "broker",
    [
        "redis://127.0.0.1:1/0",
        "nosuch://",
        "nonsense",
        "sqlite:///fb.toml",
        "redis://[",
        "sqlite:///no/such.db",
    ],
)
def test_a_broker_in_trouble_is_no_trouble(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["wait"], ["dead", "show", "q"], ["delayed", "cancel", "q"]):
        main(["--current=q", *words, "--broker", broker])
        main([f"--current=--broker={broker}", *words])
    assert capsys.readouterr() == ("", "")


def test_a_broken_fb_toml_is_no_trouble(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "fb.toml").write_text("broker = 5\n[")
    for words in (["wait"], ["peek", "--context"], ["dead", "show", "q"]):
        main(["--current=m", *words])
    assert capsys.readouterr().err == ""
    assert texts("push", "mymod:t") == ["mymod:task"]


def test_a_slow_broker_is_not_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with settings_in(folder) as settings:
        settings.open_broker().publish("slow", [message(x=1)])
    released = threading.Event()

    def hang(settings: object) -> None:
        released.wait(10)
        raise Unavailable("too late")

    monkeypatch.setattr(completion, "_reachable", hang)
    before = set(threading.enumerate())
    begun = time.monotonic()
    assert texts("wait", "slo") == []
    assert time.monotonic() - begun < completion.PATIENCE + 2
    released.set()
    monkeypatch.undo()
    for thread in set(threading.enumerate()) - before:
        thread.join()


def test_whatever_goes_wrong_is_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("fbcli.commands._complete.complete", fail)
    main(["--current=", "wait"])
    main([])
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FB_DEBUG", "1")
    with pytest.raises(RuntimeError, match="a bug"):
        main(["--current=", "wait"])


def test_words_come_as_they_were_typed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--current=", "push", "'mymod:task'", 'x="a b"'])
    main(["--current='mymod:t", "push"])
    assert capsys.readouterr().out == "y=\tint = 2\ntag=\t=None\nmymod:task\n"
