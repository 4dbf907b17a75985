"""How `fb push` publishes and what it says: a task id, or a progress bar and a count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fbcli.booster import Booster, repeated, task_id_of
from fbcli.broker import Outgoing
from fbcli.clock import SYSTEM
from fbcli.console.output import Output
from fbcli.errors import PartlyDone
from fbcli.pushing.feed import Feed
from fbcli.values.moments import due

if TYPE_CHECKING:
    from fbcli.arguments.records import Record


class Pushing:
    """Publishes what was asked for, and says so."""

    def __init__(
        self,
        out: Output,
        booster: Booster[Any, Any],
        options: dict[str, Any],
        *,
        dry_run: bool,
        ids: bool,
    ) -> None:
        self.out = out
        self.dry_run = dry_run
        self.ids = ids
        self.booster = booster
        self.options = options
        self.repeated = 0
        """Unique messages that were not pushed, since their like was there."""

    def make(self, arguments: Mapping[str, Any]) -> Outgoing:
        """Return the message of a call."""
        return self.booster.message(arguments, **self.options)

    def one(self, arguments: dict[str, Any]) -> None:
        """Publish one message and print its task id. Raises `Refused` for a unique one whose like
        is there."""
        message = self.booster.queue.repeatable(self.make(arguments))
        if not self.publish((message,)):
            raise repeated(self.booster.queue)
        if self.dry_run:
            self.out.say("Nothing was pushed (--dry-run).")
        elif self.out.json:
            self.out.object({"task_id": task_id_of(message), "queue": self.booster.queue.name})
        else:
            self.out.text(task_id_of(message))
        if message.not_before is not None and not self.out.json:
            self.out.say(f"due {due(message.not_before, SYSTEM.now())}")

    def many(
        self,
        records: Callable[[Feed], Iterable[Record]],
        *,
        common: dict[str, Any] | None = None,
        skip_bad: bool = False,
        total: int | None = None,
    ) -> None:
        """Publish a message for each record and say how many. `common`: arguments of those that do
        not have them."""
        name = self.booster.queue.name
        with self.out.progress(f"push to {name}", total) as advance:

            def publish(batch: Sequence[Outgoing]) -> None:
                published = self.publish(batch)
                advance(len(batch))
                if self.ids and not self.dry_run:
                    self.print_ids(published)

            make = (lambda record: self.make({**common, **record})) if common else self.make
            skip = (lambda error: self.out.say(f"fb: {error}")) if skip_bad else None
            feed = Feed(make, publish, skip=skip, done="checked" if self.dry_run else "pushed")
            try:
                feed.run(records(feed))
            except KeyboardInterrupt:
                self.out.say(f"Interrupted: {counted(feed.pushed)} pushed to {name} so far.")
                raise
        self.summarize(feed)

    def summarize(self, feed: Feed) -> None:
        """Say what became of many."""
        name = self.booster.queue.name
        if self.out.json and not self.ids and not self.dry_run:
            counts = {"pushed": feed.pushed - self.repeated, "skipped": feed.skipped, "queue": name}
            self.out.object(
                {**counts, "repeated": self.repeated} if self.options.get("unique") else counts
            )
        where = f"checked for {name}; nothing was pushed" if self.dry_run else f"pushed to {name}"
        done = f"{counted(feed.pushed - self.repeated)} {where}"
        if feed.skipped:
            raise PartlyDone(
                f"{done}; {feed.skipped:,} bad"
                f" {'record was' if feed.skipped == 1 else 'records were'} left out."
            )
        if self.repeated:
            done += f"; {counted(self.repeated)} left out, whose like is queued or running"
        if not self.out.json:
            self.out.say(f"{done}.")

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Outgoing]:
        """Publish a batch, or (dry run) print it. Return what was published: of unique messages
        those whose like was not there."""
        if self.dry_run:
            for message in batch:
                self.out.text(message.body.decode())
        elif self.options.get("unique"):
            from fbcli.queues.unique import publish_unique  # noqa: PLC0415  most are not

            batch, repeats = publish_unique(self.booster.queue, batch)
            self.repeated += len(repeats)
        else:
            self.booster.queue.publish(batch)
        return batch

    def print_ids(self, batch: Sequence[Outgoing]) -> None:
        """Print a line for each message."""
        for message in batch:
            if self.out.json:
                self.out.object({"task_id": task_id_of(message), "queue": self.booster.queue.name})
            else:
                self.out.text(task_id_of(message))


def counted(number: int) -> str:
    """Return `1 message`, `1,000 messages`."""
    return f"{number:,} {'message' if number == 1 else 'messages'}"
