"""Groups: each gets every message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from fbcli.broker import DEFAULT_GROUP, Broker, Inbox
from fbcli.testing.broker.ground import BrokerGround, ack, bodies, numbered


def with_group(url: str, group: str) -> str:
    """Return a broker's URL that names this group."""
    return f"{url}{'&' if '?' in url else '?'}group={group}"


class GroupingTests(BrokerGround):
    @pytest.fixture
    def join_group(
        self,
        broker: Broker,
        broker_url: str,
        queue: str,
        open_url: Callable[[str], Broker],
    ) -> Iterator[Callable[[str | None], Inbox]]:
        """Opens an inbox as a member of a group (None: of that which nobody named)."""
        self.need(broker, "group")
        with ExitStack() as opened:

            def join_group(group: str | None) -> Inbox:
                url = broker_url if group is None else with_group(broker_url, group)
                inbox = open_url(url).open(queue, consumer_id="c", prefetch=100, lease=60.0)
                return opened.enter_context(closing(inbox))

            yield join_group

    def test_each_group_gets_every_message(
        self, broker: Broker, queue: str, join_group: Callable[[str | None], Inbox]
    ) -> None:
        members = [join_group("one"), join_group("two")]
        broker.publish(queue, numbered(5))
        for member in members:
            found = self.receive(member, 5)
            assert sorted(bodies(found)) == [b"%d" % i for i in range(5)]
            ack(member, found)
            assert member.fetch(5, 0.05) == []

    def test_members_of_a_group_share_its_messages(
        self, broker: Broker, queue: str, join_group: Callable[[str | None], Inbox]
    ) -> None:
        """That which nobody named has a name, too."""
        unnamed, named = join_group(None), join_group(DEFAULT_GROUP)
        broker.publish(queue, numbered(5))
        found = self.receive(unnamed, 5)
        assert named.fetch(5, 0.05) == []
        ack(unnamed, found)
