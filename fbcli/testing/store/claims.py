"""What every store must do about claims and marks: granted, busy, done; given back by tokens; over
with the lease; exact, however many ask at once."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings

from fbcli.stores.base import BUSY, DONE, GRANTED, Store, Writes
from fbcli.testing.store.claims_model import Step, compare, steps
from fbcli.testing.store.ground import StoreGround
from fbcli.testing.store.samples import STRANGE, elsewhere, output_of
from fbcli.testing.waiting import wait_until


def ask(
    store: Store,
    *keys: str,
    owner: str = "o",
    token: str = "1",
    lease: float = 60,
    limit: int = 1,
    space: str = "s",
) -> list[int]:
    """Claim keys, all by one token."""
    tokens = [token] * len(keys)
    return list(store.claim(space, keys, tokens, owner=owner, lease=lease, limit=limit))


def free(store: Store, *keys: str, owner: str = "o", token: str = "1", space: str = "s") -> None:
    """Give back what was claimed by one token."""
    store.write(Writes().free(space, keys, [token] * len(keys), owner=owner))


def mark(
    store: Store,
    *keys: str,
    ttl: float | None = 60,
    owner: str = "o",
    token: str = "1",
    space: str = "s",
) -> None:
    tokens = [token] * len(keys)
    store.write(Writes().mark(space, keys, tokens, owner=owner, ttl=ttl))


def is_free(store: Store, key: str, space: str = "s") -> bool:
    """Look, by claiming it for a moment."""
    answer = ask(store, key, owner="looks", space=space)
    store.drop_claims([space], "looks")
    return answer == [GRANTED]


class ClaimTests(StoreGround):
    # claims
    def test_a_claimed_key_is_busy_for_all(
        self, store: Store, another: Callable[[], Store]
    ) -> None:
        assert ask(store, "a", "b", owner="one") == [GRANTED, GRANTED]
        assert ask(another(), "a", "c", owner="two") == [BUSY, GRANTED]
        assert ask(store, "c", "a", owner="one", token="2") == [BUSY, BUSY]

    def test_claiming_nothing(self, store: Store) -> None:
        assert ask(store) == []
        free(store)
        mark(store)
        store.write(Writes())
        store.keep_claims([], "o", 60)
        store.drop_claims([], "o")
        assert store.unmark("s", []) == 0

    def test_the_same_key_twice_in_one_call(self, store: Store) -> None:
        def two(limit: int, *keys: str) -> list[int]:
            tokens = [f"{n}" for n in range(len(keys))]
            return list(store.claim("s", keys, tokens, owner="o", lease=60, limit=limit))

        assert two(1, "a", "a") == [GRANTED, BUSY]
        assert two(2, "b", "c", "b", "b") == [GRANTED, GRANTED, GRANTED, BUSY]

    def test_a_claim_asked_for_again_is_granted_again(
        self, store: Store, another: Callable[[], Store]
    ) -> None:
        """So that a claim whose answer was lost is not in its own way."""
        for limit in (1, 3):
            space = f"at most {limit}"
            assert ask(store, "a", "b", limit=limit, space=space) == [GRANTED, GRANTED]
            assert ask(another(), "a", "b", limit=limit, space=space) == [GRANTED, GRANTED]
            free(store, "a", space=space)
            others = [ask(store, "a", owner=f"{n}", limit=limit, space=space) for n in range(4)]
            assert others == [[GRANTED]] * limit + [[BUSY]] * (4 - limit)

    def test_or_busy_where_it_must_not_be(self, store: Store) -> None:
        def once(limit: int, *tokens: str) -> list[int]:
            keys = ["a"] * len(tokens)
            return list(
                store.claim("s", keys, tokens, owner="o", lease=60, limit=limit, repeat=False)
            )

        assert once(1, "1", "1") == [GRANTED, BUSY]
        assert once(3, "1", "2") == [BUSY, GRANTED]
        assert once(3, "2", "1", "3", "4") == [BUSY, BUSY, GRANTED, BUSY]

    def test_claims_of_all_owners_count(self, store: Store, another: Callable[[], Store]) -> None:
        for token in ("1", "2"):
            assert ask(store, "a", owner="one", token=token, limit=3) == [GRANTED]
        assert ask(another(), "a", owner="two", token="1", limit=3) == [GRANTED]
        assert ask(another(), "a", owner="two", token="2", limit=3) == [BUSY]
        assert ask(store, "a", owner="three", limit=4) == [GRANTED]
        assert ask(store, "a", owner="four", limit=2) == [BUSY]
        assert ask(store, "z", owner="four", limit=0) == [BUSY]

    def test_spaces_do_not_meet(self, store: Store) -> None:
        spaces = ["s", "t", "", "}", "{}", STRANGE]
        for space in spaces:
            assert ask(store, "a", space=space) == [GRANTED]
        mark(store, "a", space="t")
        free(store, "a", space="}")
        store.drop_claims([STRANGE], "o")
        found = [ask(store, "a", owner="p", space=space)[0] for space in spaces]
        assert found == [BUSY, DONE, BUSY, GRANTED, BUSY, GRANTED]

    def test_any_name_will_do(self, store: Store) -> None:
        names = ["", " ", "1 2", "a\nb", "\0", "a\0b", "a\0c", "a\1", "*", "x" * 5000, STRANGE]
        for owner in names:
            space = f"of {owner}"
            for token in names:
                assert ask(store, token, owner=owner, token=token, space=space) == [GRANTED]
            assert ask(store, *names, owner="other", space=space) == [BUSY] * len(names)
            for name in names[:-1]:
                mark(store, name, owner=owner, token=name, space=space)
            free(store, names[-1], owner=owner, token=names[-1], space=space)
            assert ask(store, *names, space=space) == [DONE] * (len(names) - 1) + [GRANTED]

    def test_owners_and_tokens_do_not_run_into_each_other(self, store: Store) -> None:
        assert ask(store, "a", owner="bc", token="a") == [GRANTED]
        assert ask(store, "a", owner="c", token="ab") == [BUSY]
        free(store, "a", owner="c", token="ab")
        assert ask(store, "a", owner="abc", token="") == [BUSY]

    # giving back
    def test_what_is_freed_can_be_claimed(self, store: Store, another: Callable[[], Store]) -> None:
        ask(store, "a", "b", owner="one")
        free(another(), "a", "unheard-of", owner="one")
        assert ask(store, "a", "b", owner="two") == [GRANTED, BUSY]

    def test_each_claim_is_given_back_by_its_token(self, store: Store) -> None:
        for token in ("1", "2", "3"):
            ask(store, "a", token=token, limit=3)
        free(store, "a", token="2")
        free(store, "a", token="2")
        assert ask(store, "a", token="4", limit=3) == [GRANTED]
        assert ask(store, "a", token="5", limit=3) == [BUSY]
        store.write(Writes().free("s", ["a", "a", "a"], ["1", "3", "3"], owner="o"))
        assert ask(store, "a", owner="p", limit=1) == [BUSY]
        free(store, "a", token="4")
        assert ask(store, "a", owner="p", limit=1) == [GRANTED]

    def test_nobody_gives_back_what_he_has_not(self, store: Store) -> None:
        ask(store, "a", owner="one")
        free(store, "a", owner="two")
        free(store, "a", owner="one", token="2")
        free(store, "a", owner="one", space="t")
        assert ask(store, "a", owner="two") == [BUSY]
        free(store, "a", "a", owner="one")
        assert ask(store, "a", owner="two") == [GRANTED]

    def test_dropping_gives_all_of_an_owner_back(
        self, store: Store, another: Callable[[], Store]
    ) -> None:
        for space in ("s", "t", "u"):
            ask(store, "a", "b", owner="one", token="1", limit=2, space=space)
            ask(store, "a", owner="one", token="2", limit=2, space=space)
            ask(store, "a", "c", owner="two", limit=3, space=space)
        another().drop_claims(["s", "t", "unheard-of"], "one")
        for space in ("s", "t"):
            assert ask(store, "a", "b", "c", owner="three", limit=2, space=space) == [GRANTED] * 3
            assert ask(store, "a", owner="four", limit=2, space=space) == [BUSY]
        assert ask(store, "a", "b", owner="three", limit=2, space="u") == [BUSY, GRANTED]
        store.drop_claims(["s"], "one")

    def test_an_owner_may_begin_anew(self, store: Store) -> None:
        ask(store, "a", "b")
        store.drop_claims(["s"], "o")
        assert ask(store, "a") == [GRANTED]
        assert ask(store, "a", "b", owner="two") == [BUSY, GRANTED]

    # the lease
    def test_claims_of_the_dead_are_free(self, store: Store, another: Callable[[], Store]) -> None:
        ask(store, "a", "b", owner="dies", lease=1, limit=2)
        ask(store, "a", owner="lives", limit=2)
        assert ask(another(), "a", "b", owner="waits", limit=2) == [BUSY, GRANTED]
        store.drop_claims(["s"], "waits")
        wait_until(
            lambda: ask(another(), "a", owner="waits", limit=2) == [GRANTED], "the lease to run out"
        )
        assert ask(store, "b", owner="waits") == [GRANTED]
        assert ask(store, "a", owner="late", limit=2) == [BUSY]

    def test_the_dead_keep_nothing(self, store: Store) -> None:
        ask(store, "a", lease=0.2)
        wait_until(lambda: is_free(store, "a"), "the lease to run out")
        store.keep_claims(["s"], "o", 60)
        assert is_free(store, "a")
        assert ask(store, "a", lease=0) == [GRANTED]
        store.keep_claims(["s"], "o", 60)
        assert ask(store, "a", token="2", lease=0) == [GRANTED]
        free(store, "a", token="2")
        assert ask(store, "a", token="3") == [GRANTED]

    def test_all_claims_of_an_owner_live_together(self, store: Store) -> None:
        ask(store, "a", owner="claims", lease=1)
        ask(store, "b", owner="claims")
        ask(store, "c", owner="keeps", lease=1)
        ask(store, "c", owner="keeps", lease=1, space="t")
        store.keep_claims(["s", "t"], "keeps", 60)
        ask(store, "d", owner="is refused", lease=1)
        assert ask(store, "a", owner="is refused") == [BUSY]
        ask(store, "mark", owner="dies", lease=1.1)
        wait_until(lambda: is_free(store, "mark"), "the lease to run out")
        assert not is_free(store, "a")
        assert not is_free(store, "c")
        assert not is_free(store, "c", space="t")
        assert not is_free(store, "d")

    def test_a_shorter_lease_replaces_a_longer(self, store: Store) -> None:
        ask(store, "a")
        store.keep_claims(["s", "unheard-of"], "o", 1)
        assert not is_free(store, "a")
        wait_until(lambda: is_free(store, "a"), "the lease to run out")

    def test_the_dead_of_a_busy_space_are_forgotten(self, store: Store) -> None:
        """While others go on, with leases of all lengths, so that nothing they share expires
        meanwhile."""
        keys = [f"{n}" for n in range(50)]
        ask(store, "long", owner="lives", lease=1000)
        for number in range(3):
            ask(store, *keys, owner=f"dies {number}", lease=0.5)
            assert not is_free(store, "49")
            wait_until(lambda: is_free(store, "49"), "the lease to run out")
        assert ask(store, *keys, "long", owner="next") == [GRANTED] * 50 + [BUSY]

    # marks
    def test_a_marked_key_is_done(self, store: Store, another: Callable[[], Store]) -> None:
        ask(store, "a", "b")
        mark(store, "a", ttl=None)
        assert ask(another(), "a", "b", "c", owner="two") == [DONE, BUSY, GRANTED]
        mark(store, "never claimed", STRANGE, owner="two")
        assert ask(store, "never claimed", STRANGE, limit=9) == [DONE, DONE]

    def test_a_mark_gives_its_claim_back(self, store: Store) -> None:
        for token in ("1", "2"):
            ask(store, "a", owner="one", token=token, limit=3)
        ask(store, "a", owner="two", limit=3)
        mark(store, "a", owner="one", token="2")
        assert store.unmark("s", ["a"]) == 1
        assert ask(store, "a", owner="three", limit=3) == [GRANTED]
        assert ask(store, "a", owner="four", limit=3) == [BUSY]

    def test_a_mark_lasts_for_its_ttl(self, store: Store) -> None:
        mark(store, "brief", "replaced", ttl=1)
        mark(store, "kept", "replaced")
        mark(store, "for ever", ttl=None)
        mark(store, "never", ttl=0)
        assert ask(store, "brief", "never") == [DONE, GRANTED]
        wait_until(lambda: ask(store, "brief", owner="p") == [GRANTED], "the mark to expire")
        assert ask(store, "kept", "replaced", "for ever") == [DONE] * 3
        assert store.unmark("s", ["kept"]) == 1
        assert store.unmark("s") == 2

    def test_a_later_mark_replaces_the_earlier(self, store: Store) -> None:
        mark(store, "a", "b", ttl=None)
        mark(store, "a", ttl=0.2)
        mark(store, "c", ttl=0.2)
        mark(store, "c", ttl=None)
        wait_until(lambda: ask(store, "a") == [GRANTED], "the mark to expire")
        assert ask(store, "b", "c") == [DONE, DONE]
        assert store.unmark("s", ["a", "b", "c"]) == 2

    def test_unmarking(self, store: Store, another: Callable[[], Store]) -> None:
        assert store.unmark("s") == 0
        assert store.unmark("s", ["a"]) == 0
        for space in ("s", "t"):
            mark(store, "a", "b", "c", ttl=None, space=space)
            mark(store, "d", "c", space=space)
        assert another().unmark("s", ["a", "d", "a", "unheard-of"]) == 2
        assert ask(store, "a", "b", "d") == [GRANTED, DONE, GRANTED]
        assert another().unmark("s") == 2
        assert ask(store, "b", "c") == [GRANTED, GRANTED]
        assert ask(store, "a", "b", "c", "d", space="t") == [DONE] * 4

    # many, and side by side
    def test_many_claims_in_one_call(self, store: Store) -> None:
        keys = [f"{n}" for n in range(5000)]
        assert ask(store, *keys) == [GRANTED] * 5000
        assert ask(store, *keys, owner="two") == [BUSY] * 5000
        mark(store, *keys[:2000])
        free(store, *keys[2000:4000])
        expected = [DONE] * 2000 + [GRANTED] * 2000 + [BUSY] * 1000
        assert ask(store, *keys, owner="two") == expected
        store.drop_claims(["s"], "o")
        assert ask(store, *keys[4000:], owner="two") == [GRANTED] * 1000
        assert store.unmark("s", keys) == 2000

    def test_many_claims_on_one_key(self, store: Store) -> None:
        tokens = [f"{n}" for n in range(300)]
        keys = ["a"] * 300
        answers = store.claim("s", keys, tokens, owner="o", lease=60, limit=200)
        assert list(answers) == [GRANTED] * 200 + [BUSY] * 100
        store.write(Writes().free("s", keys, tokens, owner="o"))
        assert ask(store, "a", owner="p") == [GRANTED]

    def test_many_marks_expire(self, store: Store) -> None:
        keys = [f"{n}" for n in range(5000)]
        mark(store, *keys, ttl=0.3)
        wait_until(lambda: ask(store, "4999") == [GRANTED], "the marks to expire")
        mark(store, "kept")
        assert DONE not in ask(store, *keys, owner="p")
        assert store.unmark("s") == 1

    def test_processes_share_a_limit(self, store: Store, shared_url: str) -> None:
        """Each claims and gives back what it got, again and again; in the end just as many as may
        have each key."""
        code = """
            owner, keys = sys.argv[2], [str(n) for n in range(20)]

            def claim(limit, token):
                answers = store.claim(
                    f"at most {limit}", keys, [token] * 20, owner=owner, lease=60, limit=limit
                )
                return [key for key, answer in zip(keys, answers) if answer == GRANTED]

            for limit in (1, 3):
                for _ in range(20):
                    mine = claim(limit, "1")
                    store.write(
                        Writes().free(f"at most {limit}", mine, ["1"] * len(mine), owner=owner)
                    )
                for n in range(3):
                    for key in claim(limit, str(n)):
                        print(limit, key)
        """
        processes = [elsewhere(shared_url, code, f"p{n}") for n in range(4)]
        granted = Counter(line for process in processes for line in output_of(process).splitlines())
        assert granted == {f"{limit} {n}": limit for limit in (1, 3) for n in range(20)}
        late = ask(store, *(f"{n}" for n in range(20)), owner="late", limit=3, space="at most 3")
        assert set(late) == {BUSY}

    def test_one_at_a_time(
        self, store: Store, another: Callable[[], Store], threads: ThreadPoolExecutor
    ) -> None:
        stores = [store, store, another(), another()]
        inside, most, lock = [0], [0], threading.Lock()

        def work(n: int) -> int:
            worked, deadline = 0, time.monotonic() + 60
            while worked < 15 and time.monotonic() < deadline:
                if ask(stores[n], "a", owner=f"{n}") == [GRANTED]:
                    with lock:
                        inside[0] += 1
                        most[0] = max(most[0], inside[0])
                    worked += 1
                    with lock:
                        inside[0] -= 1
                    free(stores[n], "a", owner=f"{n}")
            return worked

        assert list(threads.map(work, range(4))) == [15] * 4
        assert most[0] == 1

    def test_a_killed_owner_is_missed_by_nobody_for_long(
        self, store: Store, shared_url: str
    ) -> None:
        code = """
            store.claim("s", ["a"], ["1"], owner="victim", lease=2)
            print("claimed", flush=True)
            time.sleep(60)
        """
        victim = elsewhere(shared_url, code)
        assert victim.stdout is not None
        with victim:
            assert victim.stdout.readline() == "claimed\n"
            assert ask(store, "a", owner="next") == [BUSY]
            victim.kill()
        wait_until(lambda: ask(store, "a", owner="next") == [GRANTED], "the lease to run out")

    # the model
    def test_claims_are_as_in_the_model(self, store: Store) -> None:
        suffixes = itertools.count()

        @settings(max_examples=60, deadline=None)
        @given(steps(spans=(0, 1000)))
        def check(script: list[Step]) -> None:
            compare(store, script, f" {next(suffixes)}")

        check()
