"""`fb chaos` as a user runs it, with few tasks: what it finds on sound brokers and on broken ones,
and that it leaves nothing behind.

5,000 tasks: `tests/chaos/test_chaos.py`. The counting: `tests/chaos/test_analysis.py`."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fbcli.chaos.processes import descendants
from tests.cli.shell import Ran, Shell
from tests.installed import FB
from tests.servers import wait_until
from tests.servers.redis import RedisServer

FEW = ("--tasks", "150", "--concurrency", "4", "--heartbeat", "300ms")
SMALL = (*FEW, "--consumers", "1", "--producers", "1")
CALM = ("--kill-every", "0")

BROKEN = '''\
"""Brokers that are broken on purpose, each in one way. Task numbers are found in the bodies."""

import re

from msgspec.structs import replace

from fbcli.broker import Action, Broker, dead_queue
from fbcli.brokers.sqlite.broker import SqliteBroker
from fbcli.errors import Refused


def number(message):
    return int(re.search(rb'"number":(\\d+)', message.body)[1])


class Broken(SqliteBroker):
    def __init__(self, url):
        super().__init__(url.replace("://", "-sqlite://", 1).partition("-")[2])


class Forgetful(Broken):
    """Confirms every message, and has lost some of them."""

    def publish(self, queue, messages):
        super().publish(queue, [message for message in messages if number(message) % 50 != 7])


class Stuttering(Broken):
    """Delivers some messages twice."""

    def publish(self, queue, messages):
        twice = (message for message in messages if number(message) % 50 == 7)
        super().publish(queue, [*messages, *twice])


class Careless(Broken):
    """Loses dead letters: whatever is buried is gone."""

    def open(self, queue, **options):
        inbox = super().open(queue, **options)
        settle = inbox.settle

        def careless(settlements, also=None):
            for settlement in settlements:
                if settlement.action == Action.BURY:
                    settlement.action, settlement.body = Action.ACK, None
            return settle(settlements, also)

        inbox.settle = careless
        return inbox


class Confused(Broken):
    """Puts some ordinary messages into the dead letters."""

    def publish(self, queue, messages):
        strange = [message for message in messages if number(message) % 50 == 7]
        super().publish(queue, [message for message in messages if message not in strange])
        super().publish(dead_queue(queue), strange)


class Deaf(Broken):
    """No consumer can begin."""

    def open(self, queue, **options):
        raise Refused("this broker cannot be consumed")


class Uncounted(Broken):
    """Does not count deliveries, and confirms nothing."""

    capabilities = replace(
        SqliteBroker.capabilities, confirm=False, durable=False, delivery_count="none"
    )


class Unheld(Broken):
    """Cannot hold what it hands over: so nothing comes back that could be counted."""

    capabilities = replace(
        SqliteBroker.capabilities, ack=False, fencing=False, lease="none", delivery_count="none"
    )


class Blind(Broken):
    """Cannot show, count or clear: what it holds is found out by taking it."""

    capabilities = replace(
        SqliteBroker.capabilities, size=False, peek=False, purge=False, queues=False
    )

    size, peek, purge, queues = Broker.size, Broker.peek, Broker.purge, Broker.queues
'''


@pytest.fixture
def shop(fb: Shell) -> Shell:
    """`fb` with a folder for temporary files of its own, and an installed package of broken
    brokers."""
    (fb.folder / "tmp").mkdir()
    fb.env["TMPDIR"] = str(fb.folder / "tmp")
    names = re.findall(r"^class (\w+)\(Broken\)", BROKEN, re.MULTILINE)
    points = "\n".join(f"{name.lower()} = broken_brokers:{name}" for name in names)
    fb.write("site/broken_brokers.py", BROKEN)
    fb.write(
        "site/broken_brokers-1.dist-info/METADATA",
        "Metadata-Version: 2.1\nName: broken-brokers\nVersion: 1\n",
    )
    fb.write("site/broken_brokers-1.dist-info/entry_points.txt", f"[fbcli.brokers]\n{points}\n")
    fb.env["PYTHONPATH"] = str(fb.folder / "site")
    return fb


@pytest.fixture(params=["sqlite", "redis"])
def sound(request: pytest.FixtureRequest, shop: Shell) -> Shell:
    """The same on a sound broker, which is that of the context."""
    if request.param == "redis":
        shop.env["FB_BROKER"] = request.getfixturevalue("redis_url")
    return shop


def processes_of(fb: Shell) -> list[int]:
    """Return the processes that were started below this `fb`, whoever is their parent now: by their
    environment."""
    mine = f"TMPDIR={fb.env['TMPDIR']}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                if mine in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return found


def nothing_is_left(fb: Shell, *, queue: bool = True) -> None:
    assert list((fb.folder / "tmp").iterdir()) == []
    assert processes_of(fb) == []
    if queue:
        assert not [
            row
            for row in fb.ok("queues", "--json").objects
            if row["ready"] or row["in_flight"] or row["dead"]
        ]


def counts(ran: Ran) -> dict[str, str]:
    """Return the second column of the table by the first."""
    return {cells[0]: cells[1] for cells in (re.split(r"\s{2,}", line) for line in ran.lines[1:])}


# sound brokers


def test_nothing_is_lost(sound: Shell) -> None:
    ran = sound(
        "chaos",
        *FEW,
        "--consumers",
        "2",
        "--poison",
        "2",
        "--task-time",
        "40ms..120ms",
        "--kill-every",
        "150ms",
    )
    assert ran.code == 0, ran
    assert re.split(r"\s{2,}", ran.lines[0]) == ["what", "count", "remark"]
    shown = counts(ran)
    assert (
        shown["pushed"],
        shown["done"],
        shown["lost"],
        shown["poison"],
        shown["wrongly run"],
    ) == (
        "150",
        "147",
        "0",
        "3",
        "0",
    )
    assert int(shown["kills"]) >= 1
    opening, *_, verdict = ran.err.splitlines()
    assert opening.startswith("150 tasks on ")
    assert "2 producers, 2 consumers with 4 threads each, seed " in opening
    assert re.fullmatch(r"Nothing lost: 150 tasks, \d+ kills?\.", verdict)
    nothing_is_left(sound)


def test_json_is_one_object(shop: Shell) -> None:
    ran = shop.ok(
        "chaos", "--json", *SMALL, *CALM, "--seed", "7", "--mode", "asyncio", "--task-time", "1ms"
    )
    found = ran.json
    assert (
        found["lost"],
        found["duplicated"],
        found["sound"],
        found["seed"],
        found["left_in_queue"],
    ) == (0, 0, True, 7, 0)
    assert (found["confirmed"], found["doubtful"], found["deliveries"], found["released"]) == (
        150,
        0,
        150,
        0,
    )
    assert found["recovery"] == {"calls": 0, "again": 0, "p50": None, "p99": None, "max": None}
    assert found["kills"] == {"consumers": 0, "producers": 0, "by_tasks": 0, "ended_themselves": 0}
    assert found["throughput"] > 0
    assert "Nothing lost" not in ran.err
    nothing_is_left(shop)


@pytest.mark.parametrize("mode", ["threads", "process"])
def test_tasks_that_kill_their_worker_end_as_dead_letters(shop: Shell, mode: str) -> None:
    options = ("--killers", "1", "--max-deliveries", "2", "--poison", "0", "--mode", mode)
    found = shop.ok("chaos", "--json", *SMALL, *CALM, *options).json
    assert (found["killers"], found["lost"]) == ({"confirmed": 1, "buried": 1, "missing": 0}, 0)
    assert found["kills"]["by_tasks"] >= 2
    assert found["kills"]["ended_themselves"] == 0
    nothing_is_left(shop)


def test_settings_of_the_project_and_the_environment_do_not_disturb(shop: Shell) -> None:
    shop.write(
        "fb.toml",
        'broker = "sqlite:///mine.db"\n[defaults]\nqps ='
        ' 0.1\n[tasks."fbcli.chaos.tasks:work"]\nretries = 9\n',
    )
    shop.write("home/.config/fbcli/config.toml", "[defaults]\nqps = 0.1\n")
    shop.env["FB_QPS"] = "0.1"
    found = shop.ok("chaos", "--json", *SMALL, *CALM).json
    assert found["broker"] == f"sqlite:///{shop.folder}/mine.db"
    assert (found["lost"], found["ended"]) == (0, 149)


def test_a_password_is_neither_shown_nor_in_a_command_line(shop: Shell) -> None:
    with RedisServer("--requirepass", "geheim") as server:
        shop.env["FB_BROKER"] = f"redis://:geheim@127.0.0.1:{server.port}/0"
        child = shop.start(
            "chaos", "--json", *SMALL, "--task-time", "20ms", "--tasks", "400", *CALM
        )
        lines: set[bytes] = set()

        def seen() -> bool:
            for pid in descendants(child.pid):
                with contextlib.suppress(OSError):
                    lines.add(Path(f"/proc/{pid}/cmdline").read_bytes())
            return all(
                any(part in line for line in lines)
                for part in (b"fbcli.chaos.producers", b"consume")
            )

        wait_until(seen, "consumers and producers to run")
        out, err = child.communicate(timeout=60)
        assert child.returncode == 0
    assert b"geheim" not in b"".join(lines)
    assert "geheim" not in out + err
    assert json.loads(out)["broker"].startswith("redis://:***@")


def test_a_line_at_a_terminal_that_is_redrawn(shop: Shell) -> None:
    ran = shop.at_terminal("chaos", *SMALL, *CALM)
    assert ran.code == 0
    assert re.search(r"\r\x1b\[K\d+ of 150 pushed · \d+ done · 0 kills", ran.out)
    assert "Nothing lost: 150 tasks, 0 kills." in ran.out


def test_what_is_kept(shop: Shell) -> None:
    ran = shop.ok("chaos", "--json", "--keep", *SMALL, *CALM)
    found = ran.json
    folder = Path(found["ledger"])
    assert {"calls", "pushes", "consumers.log", "producers.log"} <= {
        path.name for path in folder.iterdir()
    }
    assert sum(len(file.read_text().splitlines()) for file in (folder / "calls").iterdir()) >= 300
    assert f"Kept: the queue {found['queue']}, and the records in {folder}" in ran.err
    (row,) = shop.ok("queues", "--json").objects
    assert (row["queue"], row["ready"], row["dead"]) == (found["queue"], 0, 1)


# brokers that lose


def test_a_broker_that_does_not_keep_what_consumers_hold_is_found_out(
    shop: Shell, redis_url: str
) -> None:
    url = redis_url.replace("redis://", "redis+list://")
    options = (
        "--consumers",
        "2",
        "--task-time",
        "40ms..80ms",
        "--kill-every",
        "150ms",
        "--patience",
        "4s",
    )
    ran = shop("chaos", url, "--json", "--tasks", "400", "--heartbeat", "300ms", *options)
    assert ran.code == 1
    found = ran.json
    assert found["sound"] is False
    assert found["lost"] > 0
    assert found["lost"] == found["confirmed"] - found["ended"] - found["poison"]["buried"]
    assert found["recovery"]["again"] == 0 < found["recovery"]["calls"]
    assert (
        "does not keep what a consumer holds: with consumers killed, losses are to be expected."
        in ran.err
    )
    assert f"fb: {found['lost']} of 400 tasks lost" in ran.err
    nothing_is_left(shop)


def broken(shop: Shell, name: str, *options: str) -> Ran:
    return shop(
        "chaos",
        f"{name}:///{shop.folder}/broken.db",
        "--json",
        *SMALL,
        *CALM,
        "--heartbeat",
        "200ms",
        "--patience",
        "3s",
        *options,
    )


def test_a_broker_that_forgets_what_it_has_confirmed(shop: Shell) -> None:
    ran = broken(shop, "forgetful", "--poison", "0")
    assert ran.code == 1
    assert (ran.json["lost"], ran.json["lost_tasks"], ran.json["ended"]) == (3, [7, 57, 107], 147)
    assert "fb: 3 of 150 tasks lost: this broker, as it is set up, cannot be relied on." in ran.err
    nothing_is_left(shop)


def test_a_broker_that_delivers_twice(shop: Shell) -> None:
    ran = broken(shop, "stuttering", "--poison", "0")
    assert ran.code == 0, "at least once is what is promised"
    assert (
        ran.json["duplicated"],
        ran.json["duplicates"]["unexplained"],
        ran.json["deliveries"],
    ) == (3, 3, 153)


def test_a_broker_that_loses_dead_letters(shop: Shell) -> None:
    ran = broken(shop, "careless", "--poison", "2")
    assert ran.code == 1
    assert (ran.json["lost"], ran.json["poison"]) == (
        3,
        {"confirmed": 3, "buried": 0, "missing": 3},
    )


def test_a_broker_with_too_many_dead_letters(shop: Shell) -> None:
    ran = broken(shop, "confused", "--poison", "0")
    assert ran.code == 1
    assert (ran.json["lost"], ran.json["misplaced"], ran.json["ended"]) == (0, 3, 147)
    assert "3 dead letters too many" in ran.err


def test_a_broker_that_cannot_be_consumed(shop: Shell) -> None:
    ran = broken(shop, "deaf", "--timeout", "60s", "--patience", "40s")
    assert (ran.code, ran.out) == (1, "")
    assert "The consumers do not stay alive: 5 have ended one after the other" in ran.err
    assert "this broker cannot be consumed" in ran.err
    nothing_is_left(shop, queue=False)


def test_a_broker_that_can_do_little(shop: Shell) -> None:
    ran = broken(shop, "blind", "--poison", "2")
    assert ran.code == 0, ran
    assert (ran.json["lost"], ran.json["poison"]["buried"], ran.json["left_in_queue"]) == (
        0,
        3,
        None,
    )
    shop.env["FB_BROKER"] = f"sqlite:///{shop.folder}/broken.db"
    nothing_is_left(shop)


def test_what_is_to_be_expected_is_said_beforehand(shop: Shell) -> None:
    ran = broken(shop, "uncounted", "--restart-command", "true", "-y")
    assert ran.code == 0
    assert "does not confirm what is pushed" in ran.err
    assert "does not keep messages over a restart" in ran.err
    ran = broken(shop, "unheld", "--killers", "1")
    assert (ran.code, ran.out) == (5, "")
    assert "does not count deliveries" in ran.err


# what is refused


def test_memory_is_refused(shop: Shell) -> None:
    ran = shop("chaos", "memory://")
    assert (ran.code, ran.out) == (5, "")
    assert "is shared within one process only" in ran.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--pause-command", "x"], "belong together"),
        (["--restart-command", "x", "--pause-command", "y", "--resume-command", "z"], "not both"),
        (["--mode", "thread"], "Did you mean 'threads'?"),
        (["--task-time", "50ms..5ms"], "begins with the longer time"),
        (["--task-time", "soon"], "--task-time: 'soon' is not a duration"),
        (["--tasks", "3", "--killers", "4"], "more than there are tasks"),
        (["--heartbeat", "10ms"], "less than 100 ms"),
        (["nonsense://"], "No broker answers to 'nonsense://'"),
    ],
)
def test_usage(shop: Shell, options: list[str], said: str) -> None:
    ran = shop("chaos", *options)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_a_broker_that_is_not_there(shop: Shell) -> None:
    ran = shop("chaos", "redis://127.0.0.1:1/0")
    assert (ran.code, ran.out) == (4, "")
    assert "cannot be reached" in ran.err


def test_taking_the_broker_away_needs_a_confirmation(shop: Shell) -> None:
    ran = shop("chaos", *SMALL, "--restart-command", "touch restarted")
    assert (ran.code, ran.out) == (6, "")
    assert "Do it by: fb chaos --tasks 150" in ran.err
    assert not (shop.folder / "restarted").exists()
    ran = shop.at_terminal("chaos", *SMALL, "--restart-command", "touch restarted", keys="n\n")
    assert ran.code == 6
    assert "Nothing was done." in ran.out


# outages


def test_a_broker_that_is_paused_now_and_then(shop: Shell) -> None:
    """One that is restarted: `tests/chaos/test_chaos.py`."""
    with RedisServer() as server:
        commands = [
            "--pause-command",
            f"kill -STOP {server.pid}",
            "--resume-command",
            f"kill -CONT {server.pid}",
        ]
        work = (
            "--tasks",
            "300",
            "--task-time",
            "20ms..60ms",
            "--outage",
            "300ms",
            "--outage-every",
            "1s",
        )
        ran = shop("chaos", server.url, "--json", "-y", *SMALL, *CALM, *work, *commands)
    assert ran.code == 0, ran
    assert ran.json["lost"] == 0
    assert ran.json["outages"] >= 1
    assert ran.json["outage_seconds"] >= 0.3 * ran.json["outages"]


def test_a_command_that_fails_ends_it(shop: Shell) -> None:
    ran = shop(
        "chaos",
        *SMALL,
        "--tasks",
        "2000",
        "--restart-command",
        "echo 'no such unit'; exit 5",
        "--outage-every",
        "200ms",
        "-y",
    )
    assert (ran.code, ran.out) == (1, "")
    assert "ended with exit code 5." in ran.err
    assert "no such unit" in ran.err
    nothing_is_left(shop)


# its end


LONG = (
    "--tasks",
    "100000",
    "--consumers",
    "2",
    "--heartbeat",
    "300ms",
    "--task-time",
    "20ms..60ms",
)


def test_time_is_up(shop: Shell) -> None:
    ran = shop("chaos", *LONG, "--timeout", "3s")
    assert ran.code == 7
    assert counts(ran)["lost"] == "unknown"
    assert re.search(
        r"fb: Time was up after [\d.]+ s, with \d+,\d+ tasks not accounted for\.", ran.err
    )
    nothing_is_left(shop)


@pytest.fixture
def running(shop: Shell) -> Iterator[subprocess.Popen[str]]:
    """A trial in full swing."""
    child = shop.start("chaos", *LONG)
    ledger = f"{shop.folder}/tmp/*/calls/*"
    wait_until(lambda: bool(list(Path("/").glob(ledger.lstrip("/")))), "tasks to run", 30)
    return child


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_signal_ends_it_and_nothing_is_left(
    shop: Shell, running: subprocess.Popen[str], number: signal.Signals, code: int
) -> None:
    running.send_signal(number)
    out, err = running.communicate(timeout=30)
    assert (running.returncode, out) == (code, ""), err
    nothing_is_left(shop)


def test_a_paused_broker_is_resumed_when_it_is_interrupted(shop: Shell) -> None:
    commands = [
        "--pause-command",
        "touch paused",
        "--resume-command",
        "rm paused",
        "--outage",
        "1h",
        "--outage-every",
        "100ms",
    ]
    child = shop.start("chaos", *LONG, *commands, "-y")
    wait_until((shop.folder / "paused").exists, "the broker to be paused")
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=30)
    assert child.returncode == 130
    assert not (shop.folder / "paused").exists()
    nothing_is_left(shop)


def test_killed_itself_it_leaves_no_process_behind(
    shop: Shell, running: subprocess.Popen[str]
) -> None:
    assert len(processes_of(shop)) >= 4
    running.kill()
    running.communicate(timeout=30)
    wait_until(lambda: processes_of(shop) == [], "its children to be gone")


def test_it_works_from_any_folder(shop: Shell, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run(
        [FB, "chaos", f"sqlite:///{elsewhere}/q.db", "--json", *SMALL, *CALM],
        cwd=elsewhere,
        env=shop.env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["lost"] == 0
