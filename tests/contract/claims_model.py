"""Claims against a simple model: hypothesis makes up what owners do, and every answer of a store
must be the model's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from fbcli.stores.base import Store

KEYS = ["a", "ü 1\n\0}{"]
OWNERS = ["x", "", "2 ö\n\0"]
SPACES = ["s", "t"]

Step = tuple[Any, ...]


def steps(spans: Sequence[float], waits: Sequence[float] = ()) -> st.SearchStrategy[list[Step]]:
    """Return what to do in turn. `spans`: seconds of leases and marks (0: over at once); `waits`:
    seconds that pass in between."""
    keys = st.lists(st.sampled_from(KEYS), min_size=1, max_size=4)
    space, owner, span = st.sampled_from(SPACES), st.sampled_from(OWNERS), st.sampled_from(spans)
    claim = st.tuples(st.just("claim"), space, keys, owner, span, st.integers(1, 3))
    others = [
        st.tuples(st.just("keep"), st.lists(space, unique=True), owner, span),
        st.tuples(st.just("free"), space, keys, owner),
        st.tuples(st.just("drop"), st.lists(space, unique=True), owner),
        st.tuples(st.just("mark"), space, keys, owner, st.one_of(st.none(), span)),
        st.tuples(st.just("unmark"), space, st.one_of(st.none(), keys)),
    ]
    if waits:
        others.append(st.tuples(st.just("wait"), st.sampled_from(waits)))
    return st.lists(st.one_of(claim, claim, claim, *others), min_size=5, max_size=25)


@dataclass
class Space:
    """What is known of one space."""

    owners: dict[str, float] = field(default_factory=dict)
    held: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By key and owner."""
    marks: dict[str, float] = field(default_factory=dict)

    def holders(self, key: str, now: float) -> dict[str, int]:
        self.held = Counter(
            {
                entry: count
                for entry, count in self.held.items()
                if self.owners.get(entry[1], 0) > now
            }
        )
        return {
            owner: count for (held, owner), count in self.held.items() if held == key and count > 0
        }

    def free(self, key: str, owner: str) -> None:
        self.held[key, owner] = max(0, self.held[key, owner] - 1)


def compare(
    store: Store, script: Sequence[Step], suffix: str, wait: Callable[[float], None] | None = None
) -> None:
    """Carry out the steps on `store` and on the model. `suffix` makes the names of spaces new
    ones."""
    now = 0.0
    spaces = {name: Space() for name in SPACES}
    for verb, *words in script:
        if verb == "claim":
            name, keys, owner, lease, limit = words
            space = spaces[name]
            answers = store.claim(name + suffix, keys, owner=owner, lease=lease, limit=limit)
            for key in keys:  # the dead are gone before the owner, if it is among them, begins anew
                space.holders(key, now)
            space.owners[owner] = now + lease
            assert len(answers) == len(keys)
            granted: Counter[str] = Counter()
            for key, (state, holder) in zip(keys, answers, strict=True):
                holders = {
                    one: count
                    for (held, one), count in space.held.items()
                    if held == key and count > 0
                }
                if space.marks.get(key, 0) > now:
                    assert (state, holder) == ("done", "")
                elif sum(holders.values()) < limit:
                    assert (state, holder) == ("granted", "")
                    space.held[key, owner] += 1
                    granted[key] += 1
                else:
                    assert state == "busy"
                    assert holder in holders
        elif verb == "keep":
            names, owner, lease = words
            store.keep_claims([name + suffix for name in names], owner, lease)
            for name in names:
                if spaces[name].owners.get(owner, 0) > now:
                    spaces[name].owners[owner] = now + lease
        elif verb == "free":
            name, keys, owner = words
            store.free(name + suffix, keys, owner=owner)
            for key in keys:
                spaces[name].free(key, owner)
        elif verb == "drop":
            names, owner = words
            store.drop_claims([name + suffix for name in names], owner)
            for name in names:
                spaces[name].owners.pop(owner, None)
        elif verb == "mark":
            name, keys, owner, ttl = words
            store.mark(name + suffix, keys, owner=owner, ttl=ttl)
            for key in keys:
                spaces[name].marks[key] = float("inf") if ttl is None else now + ttl
                spaces[name].free(key, owner)
        elif verb == "unmark":
            name, chosen = words
            marks = spaces[name].marks
            gone = [
                key
                for key in (marks if chosen is None else dict.fromkeys(chosen))
                if marks.get(key, 0) > now
            ]
            assert store.unmark(name + suffix, chosen) == len(gone)
            for key in gone:
                del marks[key]
        elif wait is not None:
            wait(words[0])
            now += words[0]
