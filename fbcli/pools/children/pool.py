"""A pool whose calls run in child processes: each in a child of its own, or many side by side in
one child.

One thread of this process speaks to the children and listens. It leads each task by its steps, so
that whatever decides about attempts, timeouts and retries stays here; only the calls are made
elsewhere. While tasks are short, a child is handed several calls at once; those that it has not
begun can be had back at any time (see the tickets of `child_wire`).
"""

from __future__ import annotations

import copy
import logging
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fbcli.errors import WorkerLost
from fbcli.platform import system
from fbcli.pools.base import Done, Pool, T
from fbcli.pools.children.child import Child
from fbcli.pools.children.group import Group, Start
from fbcli.pools.children.steps import Attempts, Call, Translator
from fbcli.pools.children.wire import Answer, End, Order, Refusal
from fbcli.values.sizes import about

log = logging.getLogger("fbcli.pool")

MOST_AHEAD = 256
AHEAD_SECONDS = 0.005
"""While tasks are short, a child holds about so much work more than it has slots, and never more
calls than that."""
AHEAD_BYTES = 256 * 1024
"""A hand-over ends with the call that makes it larger than this."""
OVERHEAD = 10e-6
"""Seconds that a child needs for a call beside the call itself."""

HELD_UP = 0.01
"""Seconds after which calls that wait behind a long one are had back, for other children."""

BREATH = 0.001
"""While children have plenty of short calls, the pool listens only so often (seconds)."""
PLENTY = 32

WARMING = 0.02
"""Seconds between two looks whether the first child is ready."""

CLOSING = 0.5
"""Seconds that calls may still run when the pool is closed."""


class ChildPool(Pool[T]):
    """`on_refusal` is called when no child can ever work, with the reason; `on_message` with what
    children say beside outcomes.

    Both, like `done`, are called from the pool's own thread.
    """

    def __init__(
        self,
        size: int,
        done: Done[T],
        translator: Translator[T],
        start: Start,
        *,
        on_refusal: Callable[[Refusal], None],
        on_message: Callable[[dict[str, Any]], None] = lambda message: None,
        name: str = "fb",
    ) -> None:
        super().__init__(size, done)
        self._translator = translator
        self._start = start
        self._on_message = on_message
        self._lock = threading.RLock()
        self._tasks: deque[T] = deque()
        """Not begun."""
        self._attempts = Attempts(translator)
        self._heard: list[tuple[Call[T], End | None, BaseException | None]] = []
        """Attempts that have ended in a child, or by an error on this side."""
        self._said: list[dict[str, Any]] = []
        self._selector = selectors.DefaultSelector()
        self._wakeup = system.wakeup()
        self._selector.register(self._wakeup.fileno(), selectors.EVENT_READ)
        self._asleep = False
        self._children: Group[T] = Group(start, self._selector, on_refusal)
        self._room = True
        """Whether children could take more than there is."""
        self._brisk = False
        self._mean = 0.0
        """About how long calls take (seconds)."""
        self._closed_at: float | None = None
        self._thread = threading.Thread(target=self._serve, name=f"{name}-children", daemon=True)
        self._thread.start()

    # what the contract asks for

    def submit(self, tasks: Sequence[T]) -> None:
        self._tasks.extend(tasks)

    def nudge(self, brisk: bool) -> float | None:
        if self._tasks and (self._room or brisk is not self._brisk):
            self._ring()
        self._brisk = brisk
        return WARMING if self._is_cold() else None

    def _is_cold(self) -> bool:
        """Whether no child takes calls yet."""
        return not self._children.ready() and not self._children.refused

    def busy(self) -> int:
        """All slots count as taken while no child is ready: what is started at its time shall not
        pile up before the door."""
        return self.size if self._is_cold() else super().busy()

    def pending(self) -> int:
        with self._lock:
            return len(self._tasks) + sum(child.unbegun() for child in self._children.all)

    def running(self) -> list[T]:
        with self._lock:
            running = [call for child in self._children.all for call in child.running()]
            return [call.task for call in (*running, *self._attempts)]

    def take_back(self) -> list[T]:
        with self._lock:
            self._recall(self._children.all)
            taken: list[T] = []
            while self._tasks:
                taken.append(self._tasks.popleft())
        self._ring()
        return taken

    def interrupt(self, task: T, exception: type[BaseException]) -> bool:
        with self._lock:
            child, call = self._find(task)
            if child is not None:  # it may have gone on since it was last heard
                self._recall([child])
                self._hear(child)
                child, call = self._find(task)
            self._ring()
            if call is None or call.interrupted_with is not None:
                return False
            call.interrupted_with = exception
            if child is None:
                self._attempts.withdraw(call)
                self._heard.append((call, None, exception()))
            elif self._start.shared:
                child.interrupt(call)
            else:
                child.kill()
            return True

    def abandon(self, task: T) -> T | None:
        """None for calls that share a child: none of them can be left behind alone."""
        with self._lock:
            child, call = self._find(task)
            if child is None or call is None or self._start.shared:
                return None
            if not child.killed:
                child.kill()
                return None
            child.calls.clear()  # it hangs inside of the system, which ends it when it can
            abandoned: T = copy.copy(call.task)
            call.drop()
        self._ring()
        return abandoned

    def resize(self, size: int) -> None:
        with self._lock:
            self.size = size
            if self._start.shared:
                for child in self._children.all:
                    child.slots = size
                    child.send(Order(slots=size))
        self._ring()

    def close(self) -> None:
        """Children that are idle end in order; calls may run for another half a second. Waits about
        that long."""
        with self._lock:
            if self._closed_at is None:
                self._closed_at = time.monotonic()
        self._ring()
        if threading.current_thread() is not self._thread:
            self._thread.join(2 * CLOSING)

    # the pool's own thread

    def _serve(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:
            log.critical("the pool of child processes has failed: %r", error, exc_info=error)
            self._children.abandon(
                Refusal("FbError", f"The pool of child processes has failed: {error!r}")
            )
            self._children.kill()
        with self._lock:
            self._asleep = False
            self._selector.close()
            self._wakeup.close()

    def _turn(self) -> bool:
        """Wait until there is something to do, and do it; False at the end."""
        if self._brisk and any(
            len(child.calls) > child.slots + PLENTY for child in self._children.all
        ):
            time.sleep(BREATH)
        self._asleep = True
        events = self._selector.select(self._patience())
        self._asleep = False
        now = time.monotonic()
        with self._lock:
            for key, mask in events:
                self._attend(key.data, mask)
            self._look_after(now)
            said, self._said = self._said, []
            heard, self._heard = self._heard, []
            heard += [(call, None, None) for call in self._attempts.take_waited(now)]
        for message in said:
            self._on_message(message)
        waits = [(call, self._attempts.conclude(call, end, error)) for call, end, error in heard]
        now = time.monotonic()
        with self._lock:
            for call, wait in waits:
                self._attempts.follow(call, wait, now)
            going_on = self._hand_out(now) if self._closed_at is None else self._wind_up(now)
            ended, self._attempts.ended = self._attempts.ended, []
            last = bool(ended) and not self.pending()
        for call in ended:
            self._translator.ran(call.task, call.seconds)
            self._done(call.task, last)
        return going_on

    def _patience(self) -> float | None:
        """Return how long to wait for an event (seconds); None: for ever."""
        now = time.monotonic()
        with self._lock:
            if self._heard or self._attempts.ended or (self._tasks and self._room):
                return 0.0
            waits = [
                child.heard_at + HELD_UP - now
                for child in self._children.all
                if child.waiting() and not child.slow
            ]
            if self._closed_at is not None:
                waits.append(CLOSING / 10)
            elif self._lacks():
                waits.append(self._children.start_in(now))
            waits += [
                wait
                for wait in (self._attempts.wait(now), self._children.patience(now))
                if wait is not None
            ]
        return max(0.0, min(waits)) if waits else None

    def _ring(self) -> None:
        """Wake the thread."""
        if self._asleep:
            self._asleep = False
            self._wakeup.ring()

    def _attend(self, child: Child[T] | None, mask: int) -> None:
        """Do what the selector has found to do."""
        if child is None:
            self._wakeup.silence()
            return
        if mask & selectors.EVENT_WRITE:
            child.channel.flush()
        if mask & selectors.EVENT_READ:
            self._hear(child)

    # to the children

    def _hand_out(self, now: float) -> bool:
        """Give the children what they can take; start another one where that helps. Returns
        True."""
        children = self._children.ready()
        surplus = 0 if self._start.shared else len(self._children.active()) - self.size
        for child in children:
            if surplus > 0 and not child.calls:
                surplus -= 1
                child.leave(now)
        children = [child for child in children if not child.leaving]
        due = self._attempts.due
        free = (
            self.size
            - self._attempts.waiting()
            - sum(child.taken() for child in self._children.all)
        )
        for child in children:
            while due and free > 0 and len(child.calls) < child.slots and self._has_quota(child):
                call = due.popleft()
                request = self._request(call, now)
                if request is not None:
                    self._hand_over(child, [(call, request)], now)
                    free -= 1
        free -= len(due)
        for index, child in enumerate(children):
            if self._tasks:
                free -= self._fill(child, free, len(children) - index, now)
            if not self._has_quota(child):
                child.leave(now)
            self._children.watch(child)
        self._room = not self._tasks
        if self._lacks() and not self._children.start_in(now):
            self._children.grow(self.size, now)
        return True

    def _lacks(self) -> bool:
        return self._children.lacks(
            len(self._tasks) + len(self._attempts.due), self.size, brisk=self._brisk
        )

    def _fill(self, child: Child[T], free: int, others: int, now: float) -> int:
        """Give a child its part of what has not begun, of which `others` shall get some; return how
        many slots that took."""
        held = len(child.calls)
        slots = max(0, min(free, child.slots - held))
        fair = max(slots, -(-len(self._tasks) // others))
        room = slots if held + slots < child.slots else min(fair, self._most(child) - held)
        requests: list[tuple[Call[T], bytes]] = []
        size = 0
        while len(requests) < room and self._tasks and self._has_quota(child, len(requests)):
            guarded = self._translator.guarded(self._tasks[0])
            if len(requests) >= slots and (guarded or size > AHEAD_BYTES):
                break
            call: Call[T] = Call(self._tasks.popleft())
            if guarded and not self._attempts.begin(call):
                continue
            request = self._request(call, now)
            if request is not None:
                requests.append((call, request))
                size += len(request)
        self._hand_over(child, requests, now)
        return min(slots, len(requests))

    def _request(self, call: Call[T], now: float) -> bytes | None:
        """Return what to ask a child for; None: that cannot be said, and the attempt has failed."""
        try:
            return self._translator.request(call.task, begun=call.steps is not None)
        except Exception as error:  # noqa: BLE001  values of the user, whose own code may run
            call.began = now
            self._heard.append((call, None, error))
            return None

    def _hand_over(
        self, child: Child[T], requests: Sequence[tuple[Call[T], bytes]], now: float
    ) -> None:
        """Have these calls made by a child. What it does not take waits for the next time."""
        while requests:
            taken = child.hand_over(requests, now)
            if not taken:
                self._put_back([call for call, _ in requests])
                return
            requests = requests[taken:]

    def _most(self, child: Child[T]) -> int:
        """Return how many calls a child may hold."""
        if not self._brisk or self._attempts.due or child.slow:
            return child.slots
        return child.slots + min(MOST_AHEAD, int(AHEAD_SECONDS / (self._mean + OVERHEAD)))

    def _has_quota(self, child: Child[T], more: int = 0) -> bool:
        """Whether it may get a call beside those it had, and `more`."""
        quota = self._start.tasks_per_child
        return quota is None or child.sent + more < quota

    # back from the children

    def _recall(self, children: Iterable[Child[T]]) -> None:
        """Have back what has not begun there."""
        for child in children:
            self._put_back(child.recall())

    def _put_back(self, calls: Sequence[Call[T]]) -> None:
        """Have these go first, in this order."""
        self._attempts.due.extendleft(call for call in reversed(calls) if call.steps is not None)
        self._tasks.extendleft(call.task for call in reversed(calls) if call.steps is None)

    def _hear(self, child: Child[T]) -> None:
        """Take note of what a child has said."""
        ends: list[End] = []
        for answer in child.hear():
            if answer.end is not None:
                ends.append(answer.end)
            else:
                self._note(child, answer)
        if not ends:
            return
        child.slow = False
        child.heard_at = child.ending_since = time.monotonic()
        self._mean += (sum(end.seconds for end in ends) / len(ends) - self._mean) * min(
            1.0, len(ends) / 50
        )
        for end in ends:
            call = child.calls.pop(end.number, None)
            if call is not None:
                self._heard.append((call, end, None))

    def _note(self, child: Child[T], answer: Answer) -> None:
        """Take note of what is no outcome."""
        if answer.ready:
            self._children.note_ready(child)
        elif answer.refusal is not None:
            self._children.note_refusal(child, answer.refusal, time.monotonic())
        elif answer.full:
            log.info(
                "a child process holds %s, more than it may: another one takes its place",
                about(answer.full),
            )
            self._recall([child])
            child.leave(time.monotonic())
        elif answer.say is not None:
            self._said.append(answer.say)

    def _look_after(self, now: float) -> None:
        """Have back what waits behind a long call, and reap the dead."""
        for child in self._children.all:
            if child.waiting() and not child.slow and now >= child.heard_at + HELD_UP:
                child.slow = True
                self._recall([child])
        for child, fate in self._children.ended(now):
            self._hear(child)
            self._recall([child])
            for call in child.calls.values():
                if self._closed_at is not None:
                    call.drop()
                    continue
                error = (
                    call.interrupted_with()
                    if call.interrupted_with
                    else WorkerLost(f"the child process {fate} in the middle of the call")
                )
                self._heard.append((call, None, error))
            child.calls.clear()
            self._children.reap(child, fate, now)

    # finding and forgetting

    def _find(self, task: T) -> tuple[Child[T] | None, Call[T] | None]:
        """Return the call that makes a task, and the child that it is in."""
        for child in self._children.all:
            for call in child.calls.values():
                if call.task is task:
                    return child, call
        for call in self._attempts:
            if call.task is task:
                return None, call
        return None, None

    def _wind_up(self, now: float) -> bool:
        """Let the children end; False when none is left."""
        assert self._closed_at is not None
        self._recall(self._children.all)
        self._children.wind_up(now, hard=now > self._closed_at + CLOSING)
        if self._children.all:
            return True
        for call in self._attempts:
            call.drop()
        return False
