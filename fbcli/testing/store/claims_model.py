"""Claims against a simple model: hypothesis makes up what owners do, and every answer of a store
must be the model's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from fbcli.stores.base import BUSY, DONE, GRANTED, Store, Writes

KEYS = ["a", "ü 1\n\0}{"]
OWNERS = ["x", "", "2 ö\n\0"]
TOKENS = ["1", "2", "x 3\0"]
SPACES = ["s", "t"]

Step = tuple[Any, ...]


def steps(spans: Sequence[float], waits: Sequence[float] = ()) -> st.SearchStrategy[list[Step]]:
    """Return what to do in turn. `spans`: seconds of leases and marks (0: over at once); `waits`:
    seconds that pass in between."""
    keys = st.lists(st.sampled_from(KEYS), min_size=1, max_size=4)
    pair = st.tuples(st.sampled_from(KEYS), st.sampled_from(TOKENS))
    pairs = st.lists(pair, min_size=1, max_size=4)
    space, owner, span = st.sampled_from(SPACES), st.sampled_from(OWNERS), st.sampled_from(spans)
    limit = st.integers(1, 3)
    claim = st.tuples(st.just("claim"), space, pairs, owner, span, limit, st.booleans())
    others = [
        st.tuples(st.just("keep"), st.lists(space, unique=True), owner, span),
        st.tuples(st.just("free"), space, pairs, owner),
        st.tuples(st.just("drop"), st.lists(space, unique=True), owner),
        st.tuples(st.just("mark"), space, pairs, owner, st.one_of(st.none(), span)),
        st.tuples(st.just("unmark"), space, st.one_of(st.none(), keys)),
        st.tuples(st.just("sweep")),
    ]
    if waits:
        others.append(st.tuples(st.just("wait"), st.sampled_from(waits)))
    return st.lists(st.one_of(claim, claim, claim, *others), min_size=5, max_size=25)


@dataclass
class ModelSpace:
    """What is known of one space."""

    owners: dict[str, float] = field(default_factory=dict)
    held: set[tuple[str, str, str]] = field(default_factory=set)
    """Key, owner, token."""
    marks: dict[str, float] = field(default_factory=dict)

    def forget_dead(self, now: float) -> None:
        self.held = {claim for claim in self.held if self.owners.get(claim[1], 0) > now}

    def answer(self, claim: tuple[str, str, str], limit: int, repeat: bool, now: float) -> int:
        key = claim[0]
        if self.marks.get(key, 0) > now:
            return DONE
        if claim in self.held:
            return GRANTED if repeat else BUSY
        if sum(held == key for held, _, _ in self.held) < limit:
            self.held.add(claim)
            return GRANTED
        return BUSY


def compare(
    store: Store, script: Sequence[Step], suffix: str, wait: Callable[[float], None] | None = None
) -> None:
    """Carry out the steps on `store` and on the model. `suffix` makes the names of spaces new
    ones."""
    now = 0.0
    spaces = {name: ModelSpace() for name in SPACES}
    for verb, *words in script:
        if verb == "claim":
            name, pairs, owner, lease, limit, repeat = words
            space, (keys, tokens) = spaces[name], _columns(pairs)
            answers = store.claim(
                name + suffix, keys, tokens, owner=owner, lease=lease, limit=limit, repeat=repeat
            )
            space.forget_dead(now)  # before the owner, if it is among them, begins anew
            space.owners[owner] = now + lease
            assert list(answers) == [
                space.answer((key, owner, token), limit, repeat, now) for key, token in pairs
            ]
        elif verb == "keep":
            names, owner, lease = words
            store.keep_claims([name + suffix for name in names], owner, lease)
            for name in names:
                if spaces[name].owners.get(owner, 0) > now:
                    spaces[name].owners[owner] = now + lease
        elif verb == "free":
            name, pairs, owner = words
            store.write(Writes().free(name + suffix, *_columns(pairs), owner=owner))
            spaces[name].held -= {(key, owner, token) for key, token in pairs}
        elif verb == "drop":
            names, owner = words
            store.drop_claims([name + suffix for name in names], owner)
            for name in names:
                spaces[name].owners.pop(owner, None)
        elif verb == "mark":
            name, pairs, owner, ttl = words
            store.write(Writes().mark(name + suffix, *_columns(pairs), owner=owner, ttl=ttl))
            ends = float("inf") if ttl is None else now + ttl
            spaces[name].marks.update((key, ends) for key, _ in pairs)
            spaces[name].held -= {(key, owner, token) for key, token in pairs}
        elif verb == "unmark":
            name, chosen = words
            marks = spaces[name].marks
            names = marks if chosen is None else dict.fromkeys(chosen)
            gone = [key for key in names if marks.get(key, 0) > now]
            assert store.unmark(name + suffix, chosen) == len(gone)
            for key in gone:
                del marks[key]
        elif verb == "sweep":
            store.sweep([name + suffix for name in SPACES])
        elif wait is not None:
            wait(words[0])
            now += words[0]


def _columns(pairs: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [key for key, _ in pairs], [token for _, token in pairs]
