"""Changing the limits that are set for a queue while its consumers live, over what these were
started with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from fbcli.stores.base import Limits, Store


def merged(before: Limits, changes: Mapping[str, Any]) -> Limits:
    """Return limits with these changed: fields of `Limits` by name."""
    return msgspec.structs.replace(before, **changes)


def change(store: Store, queue: str, changes: Mapping[str, Any]) -> Limits:
    """Set these limits of a queue; the others that were set stay. Return all."""
    limits = merged(store.limits().get(queue, Limits()), changes)
    store.limit(queue, limits)
    return limits
