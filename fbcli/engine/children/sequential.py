"""A child process that makes one call after the other, in its main thread: the pool of mode
`process`."""

from __future__ import annotations

import os
import threading

from fbcli.engine.children.calls import Caller, ParentLink, settle_in
from fbcli.platform import system
from fbcli.pools.children.wire import Answer


def work(mode: str, tickets: str) -> None:
    """Make calls until there are no more."""
    link = ParentLink(tickets)
    setting = link.first()
    if not system.die_with_parent(setting.parent):
        threading.Thread(
            target=system.follow_parent, args=(link.channel.socket,), name="fb-parent", daemon=True
        ).start()
    settle_in(setting)

    def say(answer: Answer) -> None:
        """Say it at once, so that whatever this process dies of, what has ended before is known to
        have ended."""
        if link.forked:
            return
        if not link.channel.send(answer):  # there is nobody to work for any more
            os._exit(1)

    caller = Caller(setting, say)
    if not caller.prepare(setting):
        return
    while (number := link.take()) is not None:
        while (call := link.request(number)) is None:
            link.orders()
        say(Answer(end=caller.make(number, call)))
        if caller.full():
            return
