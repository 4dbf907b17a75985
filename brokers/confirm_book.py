"""Which of the messages that were published on a channel got in: the publisher confirms of AMQP.

The book reads and writes nothing itself. The adapter tells it what the server says
(rabbitmq.com/docs/confirms); whoever publishes waits for the batch that is its own.
"""

from __future__ import annotations

import threading

from fbcli.errors import PartlyPublished, Unavailable

_PENDING, _ACCEPTED, _REFUSED, _RETURNED = range(4)


class ConfirmBatch:
    """What is known of the messages of one batch; each is called by its place in it. Any thread may
    ask and wait."""

    __slots__ = ("_fates", "_known", "_left", "_reason", "first")

    def __init__(self, first: int, count: int) -> None:
        self.first = first
        """The number of its first message on the channel, the delivery tag of its confirm; the
        others follow."""
        self._fates = bytearray(count)
        self._left = count
        self._reason = ""
        """Why one did not get in, or why nothing more will be known."""
        self._known = threading.Event()
        if not count:
            self._known.set()

    def wait(self, seconds: float) -> bool:
        """Wait until all is known that ever will be, at most so long; return whether it is."""
        return self._known.wait(seconds)

    @property
    def accepted(self) -> list[int]:
        """Those that the server has taken over, rising."""
        return self._places(_ACCEPTED)

    @property
    def refused(self) -> list[int]:
        """Those that it has not: it could not (nack), or there is no such queue (return)."""
        return sorted(self._places(_REFUSED) + self._places(_RETURNED))

    @property
    def unknown(self) -> list[int]:
        """Those that it has not confirmed, and perhaps taken over all the same."""
        return self._places(_PENDING)

    def check(self, who: str) -> None:
        """Raise `PartlyPublished`, or `Unavailable` when nothing is known to have got in, unless
        the server has taken over all. `who`: the server, for the sentence."""
        accepted = self.accepted
        if len(accepted) == len(self._fates):
            return
        missing = (
            f"{len(self.refused)} of {len(self._fates)} messages were refused by {who}"
            if self.refused
            else f"{who} did not confirm {len(self.unknown)} of {len(self._fates)} messages"
        )
        text = f"{missing} ({self._reason or 'it did not answer in time'})."
        raise PartlyPublished(text, accepted) if accepted else Unavailable(text)

    def _places(self, fate: int) -> list[int]:
        return [place for place, each in enumerate(bytes(self._fates)) if each == fate]

    # by the book, which holds its lock

    def note(self, number: int, fate: int, reason: str) -> None:
        place = number - self.first
        if self._fates[place] != _RETURNED:
            self._fates[place] = fate
        self._reason = self._reason or reason
        self._left -= 1
        if not self._left:
            self._known.set()

    def note_return(self, number: int, reason: str) -> None:
        self._fates[number - self.first] = _RETURNED
        self._reason = self._reason or reason

    def give_up(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._known.set()


class ConfirmBook:
    """The confirms of one channel, from its first message to its end; another channel has a book of
    its own. Thread-safe, and fit to be told by one thread while others wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[int, ConfirmBatch] = {}
        """By the number of each message that the server has not confirmed."""
        self._lowest = 1
        """No smaller number is pending."""
        self._next = 1
        self._ended = ""

    @property
    def outstanding(self) -> int:
        """How many messages the server has not confirmed."""
        return len(self._pending)

    def begin(self, count: int) -> ConfirmBatch:
        """Give the next `count` messages their numbers. They must all be sent now, in this order,
        before others are: the server only counts. Raises `Unavailable` when the channel has
        ended."""
        with self._lock:
            if self._ended:
                raise Unavailable(self._ended)
            batch = ConfirmBatch(self._next, count)
            self._next += count
            self._pending.update(dict.fromkeys(range(batch.first, self._next), batch))
            return batch

    def ack(self, number: int, multiple: bool = False) -> None:
        """The server has taken over this message; with `multiple` all up to it, or with 0 all there
        are. A number that is not pending changes nothing."""
        self._settle(number, multiple, _ACCEPTED, "")

    def nack(self, number: int, multiple: bool = False) -> None:
        """As `ack`, but it could not take it over."""
        self._settle(number, multiple, _REFUSED, "the server could not take them over")

    def returned(self, number: int, reason: str) -> None:
        """A message that was published as mandatory is for no queue. Its confirm follows, and means
        nothing then.

        Note: `basic.return` does not tell the number; it has to travel in a header of the message.
        """
        with self._lock:
            batch = self._pending.get(number)
            if batch is not None:
                batch.note_return(number, reason)

    def end(self, reason: str) -> None:
        """The channel or its connection has ended: nobody waits any more. Idempotent; `reason` is a
        sentence for a person."""
        with self._lock:
            self._ended = self._ended or reason
            for batch in set(self._pending.values()):
                batch.give_up(self._ended)
            self._pending.clear()

    def _settle(self, number: int, multiple: bool, fate: int, reason: str) -> None:
        with self._lock:
            last = self._next - 1
            if multiple:
                last = min(number or last, last)
                numbers = range(self._lowest, last + 1)
            else:
                numbers = range(number, number + 1)
            for each in numbers:
                batch = self._pending.pop(each, None)
                if batch is not None:
                    batch.note(each, fate, reason)
            while self._lowest < self._next and self._lowest not in self._pending:
                self._lowest += 1
