"""What stores keep, as it travels between versions."""

from __future__ import annotations

import msgspec

from fbcli.stores.base import ConsumerRecord, Counts


def test_the_record_of_a_consumer_is_read_whatever_version_wrote_it() -> None:
    decode = msgspec.json.Decoder(ConsumerRecord).decode
    assert decode(b'{"consumer_id":"w"}') == ConsumerRecord("w")
    newer = b'{"consumer_id":"w","queue":"q","counts":{"succeeded":2,"novel":1},"novel":[1]}'
    assert decode(newer) == ConsumerRecord("w", queue="q", counts=Counts(succeeded=2))


def test_counts_of_several_add_up() -> None:
    assert Counts(succeeded=1, late=2) + Counts(succeeded=3, dropped=4) == Counts(
        succeeded=4, dropped=4, late=2
    )
    assert Counts(1, 2, 30, 40, 50, 3, 4, 60).done == 10
