"""Messages between processes: whole ones, in their order, whatever the pieces they come in."""

from __future__ import annotations

import json
import random
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from fbcli.processes.channel import LONGEST, Channel, Frames, QueuedChannel, framed

Pair = tuple[socket.socket, socket.socket]

decode = msgspec.json.Decoder().decode


@pytest.fixture
def pair() -> Iterator[Pair]:
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def test_frames_come_out_whole_however_they_come_in() -> None:
    messages: list[Any] = [{"n": n, "text": "ü" * (n % 7)} for n in range(300)]
    data = b"".join(map(framed, messages))
    chance = random.Random(5)
    frames, found, at = Frames(), [], 0
    while at < len(data):
        size = chance.choice([1, 2, 3, 50, 4000])
        found += map(json.loads, frames.feed(data[at : at + size]))
        at += size
    assert found == messages


def test_an_empty_piece_and_an_empty_body_are_fine() -> None:
    frames = Frames()
    assert frames.feed(b"") == []
    assert frames.feed(struct.pack("=I", 0) + framed(1)) == [b"", b"1"]


def test_garbage_is_noticed() -> None:
    with pytest.raises(msgspec.DecodeError):
        Frames().feed(struct.pack("=I", LONGEST + 1))


def test_messages_come_in_their_order(pair: Pair) -> None:
    ours, theirs = map(Channel, pair)
    for number in range(5):
        assert ours.send({"n": number})
    assert [theirs.receive(decode) for _ in range(2)] == [{"n": 0}, {"n": 1}]
    assert theirs.receive_all(decode) == [{"n": 2}, {"n": 3}, {"n": 4}]
    theirs.send("back")
    assert ours.receive(decode) == "back"


def test_what_has_been_said_is_heard_after_the_end(pair: Pair) -> None:
    ours, theirs = map(Channel, pair)
    ours.send("last words")
    ours.close()
    ours.close()
    assert theirs.receive(decode) == "last words"
    assert theirs.receive(decode) is None
    assert theirs.receive_all(decode) == []
    assert not theirs.send("is anybody there?") or not theirs.send("really?")


def test_closing_wakes_who_waits(pair: Pair) -> None:
    ours = Channel(pair[0])
    heard: list[Any] = []
    waiting = threading.Thread(target=lambda: heard.append(ours.receive(decode)))
    waiting.start()
    ours.close()
    waiting.join(10)
    assert heard == [None]


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff????", struct.pack("=I", 2) + b"{]", b"hi"])
def test_garbage_is_the_end(pair: Pair, garbage: bytes) -> None:
    channel = Channel(pair[0])
    pair[1].sendall(garbage)
    pair[1].close()
    assert channel.receive(decode) is None


def test_a_default_timeout_of_sockets_ends_no_wait() -> None:
    """A module of the user's may set one when it is imported."""
    socket.setdefaulttimeout(0.01)
    try:
        ours, theirs = map(Channel, socket.socketpair())
    finally:
        socket.setdefaulttimeout(None)
    assert ours.socket.gettimeout() is theirs.socket.gettimeout() is None
    timer = threading.Timer(0.1, lambda: theirs.send("late"))
    timer.start()
    assert ours.receive(decode) == "late"
    timer.join()
    ours.close()
    theirs.close()


def test_threads_send_whole_messages(pair: Pair) -> None:
    ours, theirs = map(Channel, pair)
    text = "x" * 100_000

    def say(name: int) -> None:
        for number in range(20):
            ours.send([name, number, text])

    threads = [threading.Thread(target=say, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    heard = [theirs.receive(decode) for _ in range(80)]
    for thread in threads:
        thread.join(10)
    for name in range(4):
        assert [n for who, n, _ in heard if who == name] == list(range(20))


# the one that never waits


def test_what_does_not_fit_waits_its_turn(pair: Pair) -> None:
    queued, reader = QueuedChannel(pair[0]), Channel(pair[1])
    messages = [[number, "y" * 50_000] for number in range(100)]
    for message in messages:
        queued.send(message)
    assert queued.clogged, "no socket takes five megabytes at once"
    heard: list[Any] = []
    while len(heard) < len(messages):
        heard += reader.receive_all(decode)
        queued.flush()
    assert heard == messages
    assert not queued.clogged


def test_it_returns_what_has_come_and_no_more(pair: Pair) -> None:
    queued, writer = QueuedChannel(pair[0]), Channel(pair[1])
    assert queued.receive_all(decode) == []
    writer.send(1)
    writer.send(2)
    assert queued.receive_all(decode) == [1, 2]
    assert not queued.silent
    writer.send(3)
    writer.close()
    assert queued.receive_all(decode) == [3]
    assert queued.silent
    queued.send("nobody")
    assert not queued.clogged


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff????", struct.pack("=I", 2) + b"{]"])
def test_one_who_writes_garbage_is_silent(pair: Pair, garbage: bytes) -> None:
    queued = QueuedChannel(pair[0])
    pair[1].sendall(framed("good") + garbage)
    queued.receive_all(decode)
    assert queued.silent
