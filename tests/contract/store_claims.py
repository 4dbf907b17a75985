"""What every store must do about claims and marks: granted, busy, done; over with the lease; exact,
however many ask at once. Part of `StoreContract`."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings

from fbcli.stores.base import Claim, Store
from tests.contract.claims_model import Step, compare, steps
from tests.contract.store_samples import STRANGE, elsewhere, output_of
from tests.servers import wait_until

GRANTED, DONE = Claim("granted"), Claim("done")


def ask(
    store: Store, *keys: str, owner: str = "o", lease: float = 60, limit: int = 1, space: str = "s"
) -> list[Claim]:
    return store.claim(space, keys, owner=owner, lease=lease, limit=limit)


def states(answers: list[Claim]) -> list[str]:
    return [answer.state for answer in answers]


def is_free(store: Store, key: str, space: str = "s") -> bool:
    """Look, by claiming it for a moment."""
    answer = ask(store, key, owner="looks", space=space)
    store.drop_claims([space], "looks")
    return answer == [GRANTED]


class ClaimsContract:
    """`store`, `another`, `store_url` and `threads` are fixtures of `StoreContract`."""

    # claims
    def test_a_claimed_key_is_busy_for_all(
        self, store: Store, another: Callable[[], Store]
    ) -> None:
        assert ask(store, "a", "b", owner="one") == [GRANTED, GRANTED]
        assert ask(another(), "a", "c", owner="two") == [Claim("busy", "one"), GRANTED]
        assert ask(store, "c", "a", owner="one") == [Claim("busy", "two"), Claim("busy", "one")]

    def test_claiming_nothing(self, store: Store) -> None:
        assert ask(store) == []
        store.free("s", [], owner="o")
        store.mark("s", [], owner="o", ttl=60)
        store.keep_claims([], "o", 60)
        store.drop_claims([], "o")
        assert store.unmark("s", []) == 0

    def test_the_same_key_twice_in_one_call(self, store: Store) -> None:
        assert ask(store, "a", "a") == [GRANTED, Claim("busy", "o")]
        assert states(ask(store, "b", "a", "b", "b", limit=2)) == [
            "granted",
            "granted",
            "granted",
            "busy",
        ]

    def test_claims_of_all_owners_count(self, store: Store, another: Callable[[], Store]) -> None:
        assert states(ask(store, "a", "a", owner="one", limit=3)) == ["granted", "granted"]
        assert states(ask(another(), "a", "a", owner="two", limit=3)) == ["granted", "busy"]
        assert ask(store, "a", owner="three", limit=4) == [GRANTED]
        assert ask(store, "a", owner="three", limit=4)[0].holder in ("one", "two", "three")
        assert states(ask(store, "a", owner="three", limit=2)) == ["busy"]
        assert states(ask(store, "z", owner="three", limit=0)) == ["busy"]

    def test_spaces_do_not_meet(self, store: Store) -> None:
        spaces = ["s", "t", "", "}", "{}", STRANGE]
        for space in spaces:
            assert ask(store, "a", space=space) == [GRANTED]
        store.mark("t", ["a"], owner="o", ttl=60)
        store.free("}", ["a"], owner="o")
        store.drop_claims([STRANGE], "o")
        found = [states(ask(store, "a", owner="p", space=space))[0] for space in spaces]
        assert found == ["busy", "done", "busy", "granted", "busy", "granted"]

    def test_any_name_will_do(self, store: Store) -> None:
        names = ["", " ", "1 2", "a\nb", "\0", "a\0b", "a\0c", "x" * 5000, STRANGE]
        for owner in names:
            assert ask(store, *names, owner=owner, space=f"of {owner}") == [GRANTED] * len(names)
            assert ask(store, *names, owner="other", space=f"of {owner}") == [
                Claim("busy", owner)
            ] * len(names)
            store.mark(f"of {owner}", names[:-1], owner=owner, ttl=60)
            store.free(f"of {owner}", names[-1:], owner=owner)
            assert ask(store, *names, space=f"of {owner}") == [DONE] * (len(names) - 1) + [GRANTED]

    # giving back
    def test_what_is_freed_can_be_claimed(self, store: Store, another: Callable[[], Store]) -> None:
        ask(store, "a", "b", owner="one")
        another().free("s", ["a", "unheard-of"], owner="one")
        assert ask(store, "a", "b", owner="two") == [GRANTED, Claim("busy", "one")]

    def test_one_claim_is_given_back_for_each_key(self, store: Store) -> None:
        ask(store, "a", "a", "a", limit=3)
        store.free("s", ["a"], owner="o")
        assert states(ask(store, "a", "a", limit=3)) == ["granted", "busy"]
        store.free("s", ["a", "a"], owner="o")
        assert states(ask(store, "a", "a", "a", limit=3)) == ["granted", "granted", "busy"]

    def test_nobody_gives_back_what_he_has_not(self, store: Store) -> None:
        ask(store, "a", owner="one")
        store.free("s", ["a"], owner="two")
        store.free("t", ["a"], owner="one")
        assert states(ask(store, "a", owner="two")) == ["busy"]
        store.free("s", ["a", "a", "a"], owner="one")
        assert states(ask(store, "a", "a", owner="two")) == ["granted", "busy"]

    def test_the_holder_is_one_who_still_has_it(self, store: Store) -> None:
        ask(store, "a", "a", owner="y", limit=9)
        ask(store, "a", owner="x", limit=9)
        ask(store, "a", owner="z", limit=9)
        store.free("s", ["a"], owner="z")
        assert ask(store, "a", owner="four")[0].holder in ("x", "y")
        store.free("s", ["a"], owner="x")
        store.free("s", ["a"], owner="y")
        assert (
            ask(store, "a", owner="four") == ask(store, "a", owner="four") == [Claim("busy", "y")]
        )
        store.free("s", ["a"], owner="y")
        assert ask(store, "a", owner="four") == [GRANTED]

    def test_dropping_gives_all_of_an_owner_back(
        self, store: Store, another: Callable[[], Store]
    ) -> None:
        for space in ("s", "t", "u"):
            ask(store, "a", "a", "b", owner="one", limit=2, space=space)
            ask(store, "a", "c", owner="two", limit=3, space=space)
        another().drop_claims(["s", "t", "unheard-of"], "one")
        for space in ("s", "t"):
            assert states(ask(store, "a", "a", "b", "c", owner="three", limit=2, space=space)) == [
                "granted",
                "busy",
                "granted",
                "granted",
            ]
        assert states(ask(store, "a", "b", owner="three", limit=2, space="u")) == [
            "busy",
            "granted",
        ]
        store.drop_claims(["s"], "one")

    def test_an_owner_may_begin_anew(self, store: Store) -> None:
        ask(store, "a", "b")
        store.drop_claims(["s"], "o")
        assert ask(store, "a") == [GRANTED]
        assert ask(store, "a", "b", owner="two") == [Claim("busy", "o"), GRANTED]

    # the lease
    def test_claims_of_the_dead_are_free(self, store: Store, another: Callable[[], Store]) -> None:
        ask(store, "a", "a", "b", owner="dies", lease=1, limit=2)
        ask(store, "a", owner="lives", limit=3)
        assert states(ask(another(), "a", "b", owner="waits", limit=2)) == ["busy", "granted"]
        store.drop_claims(["s"], "waits")
        wait_until(
            lambda: ask(another(), "a", owner="waits", limit=2) == [GRANTED], "the lease to run out"
        )
        assert ask(store, "b", owner="waits") == [GRANTED]
        assert states(ask(store, "a", owner="waits", limit=2)) == ["busy"]

    def test_the_dead_keep_nothing(self, store: Store) -> None:
        ask(store, "a", lease=0.2)
        wait_until(lambda: is_free(store, "a"), "the lease to run out")
        store.keep_claims(["s"], "o", 60)
        assert is_free(store, "a")
        assert ask(store, "a", lease=0) == [GRANTED]
        store.keep_claims(["s"], "o", 60)
        assert ask(store, "a", lease=0) == [GRANTED]
        store.free("s", ["a"], owner="o")
        assert ask(store, "a") == [GRANTED]

    def test_all_claims_of_an_owner_live_together(self, store: Store) -> None:
        ask(store, "a", owner="claims", lease=1)
        ask(store, "b", owner="claims")
        ask(store, "c", owner="keeps", lease=1)
        ask(store, "c", owner="keeps", lease=1, space="t")
        store.keep_claims(["s", "t"], "keeps", 60)
        ask(store, "d", owner="is refused", lease=1)
        assert states(ask(store, "a", owner="is refused")) == ["busy"]
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
        ask(store, "long", owner="lives", lease=1000)
        for number in range(3):
            ask(store, *(f"{n}" for n in range(50)), owner=f"dies {number}", lease=0.5)
            assert not is_free(store, "49")
            wait_until(lambda: is_free(store, "49"), "the lease to run out")
        keys = [f"{n}" for n in range(50)]
        assert ask(store, *keys, "long", owner="next", limit=1) == [GRANTED] * 50 + [
            Claim("busy", "lives")
        ]

    # marks
    def test_a_marked_key_is_done(self, store: Store, another: Callable[[], Store]) -> None:
        ask(store, "a", "b")
        store.mark("s", ["a"], owner="o", ttl=None)
        assert ask(another(), "a", "b", "c", owner="two") == [DONE, Claim("busy", "o"), GRANTED]
        store.mark("s", ["never claimed", STRANGE], owner="two", ttl=60)
        assert ask(store, "never claimed", STRANGE, limit=9) == [DONE, DONE]

    def test_a_mark_gives_one_claim_back(self, store: Store) -> None:
        ask(store, "a", "a", owner="one", limit=3)
        ask(store, "a", owner="two", limit=3)
        store.mark("s", ["a"], owner="one", ttl=60)
        assert store.unmark("s", ["a"]) == 1
        assert states(ask(store, "a", "a", owner="three", limit=3)) == ["granted", "busy"]

    def test_a_mark_lasts_for_its_ttl(self, store: Store) -> None:
        store.mark("s", ["brief", "replaced"], owner="o", ttl=1)
        store.mark("s", ["kept", "replaced"], owner="o", ttl=60)
        store.mark("s", ["for ever"], owner="o", ttl=None)
        store.mark("s", ["never"], owner="o", ttl=0)
        assert ask(store, "brief", "never") == [DONE, GRANTED]
        wait_until(lambda: ask(store, "brief", owner="p") == [GRANTED], "the mark to expire")
        assert ask(store, "kept", "replaced", "for ever") == [DONE] * 3
        assert store.unmark("s", ["kept"]) == 1
        assert store.unmark("s") == 2

    def test_a_later_mark_replaces_the_earlier(self, store: Store) -> None:
        store.mark("s", ["a", "b"], owner="o", ttl=None)
        store.mark("s", ["a"], owner="o", ttl=0.2)
        wait_until(lambda: ask(store, "a") == [GRANTED], "the mark to expire")
        assert ask(store, "b") == [DONE]
        assert store.unmark("s", ["a", "b"]) == 1

    def test_unmarking(self, store: Store, another: Callable[[], Store]) -> None:
        assert store.unmark("s") == 0
        assert store.unmark("s", ["a"]) == 0
        for space in ("s", "t"):
            store.mark(space, ["a", "b", "c"], owner="o", ttl=None)
            store.mark(space, ["d", "c"], owner="o", ttl=60)
        assert another().unmark("s", ["a", "d", "a", "unheard-of"]) == 2
        assert ask(store, "a", "b", "d") == [GRANTED, DONE, GRANTED]
        assert another().unmark("s") == 2
        assert ask(store, "b", "c") == [GRANTED, GRANTED]
        assert ask(store, "a", "b", "c", "d", space="t") == [DONE] * 4

    # many, and side by side
    def test_many_claims_in_one_call(self, store: Store) -> None:
        keys = [f"{n}" for n in range(5000)]
        assert ask(store, *keys) == [GRANTED] * 5000
        assert ask(store, *keys, owner="two") == [Claim("busy", "o")] * 5000
        store.mark("s", keys[:2000], owner="o", ttl=60)
        store.free("s", keys[2000:4000], owner="o")
        assert (
            states(ask(store, *keys, owner="two"))
            == ["done"] * 2000 + ["granted"] * 2000 + ["busy"] * 1000
        )
        store.drop_claims(["s"], "o")
        assert states(ask(store, *keys[4000:], owner="two")) == ["granted"] * 1000
        assert store.unmark("s", keys) == 2000

    def test_many_marks_expire(self, store: Store) -> None:
        store.mark("s", [f"{n}" for n in range(5000)], owner="o", ttl=0.3)
        wait_until(lambda: ask(store, "4999") == [GRANTED], "the marks to expire")
        store.mark("s", ["kept"], owner="o", ttl=60)
        assert states(ask(store, *(f"{n}" for n in range(5000)), owner="p")).count("done") == 0
        assert store.unmark("s") == 1

    def test_processes_share_a_limit(self, store: Store, store_url: str) -> None:
        """Each claims and gives back what it got, again and again; in the end just as many as may
        have each key."""
        code = """
            owner, keys = sys.argv[2], [str(n) for n in range(20)]

            def claim(limit):
                answers = store.claim(f"at most {limit}", keys, owner=owner, lease=60, limit=limit)
                return [key for key, answer in zip(keys, answers) if answer.state == "granted"]

            for limit in (1, 3):
                for _ in range(20):
                    store.free(f"at most {limit}", claim(limit), owner=owner)
                for _ in range(3):
                    for key in claim(limit):
                        print(limit, key)
        """
        processes = [elsewhere(store_url, code, f"p{n}") for n in range(4)]
        granted = Counter(line for process in processes for line in output_of(process).splitlines())
        assert granted == {f"{limit} {n}": limit for limit in (1, 3) for n in range(20)}
        late = ask(store, *(f"{n}" for n in range(20)), owner="late", limit=3, space="at most 3")
        assert set(states(late)) == {"busy"}

    def test_one_at_a_time(
        self, store: Store, another: Callable[[], Store], threads: ThreadPoolExecutor
    ) -> None:
        stores, inside, most, lock = (
            [store, store, another(), another()],
            [0],
            [0],
            threading.Lock(),
        )

        def work(n: int) -> int:
            worked, deadline = 0, time.monotonic() + 20
            while worked < 15 and time.monotonic() < deadline:
                if ask(stores[n], "a", owner=f"{n}") == [GRANTED]:
                    with lock:
                        inside[0] += 1
                        most[0] = max(most[0], inside[0])
                    worked += 1
                    with lock:
                        inside[0] -= 1
                    stores[n].free("s", ["a"], owner=f"{n}")
            return worked

        assert list(threads.map(work, range(4))) == [15] * 4
        assert most[0] == 1

    def test_a_killed_owner_is_missed_by_nobody_for_long(
        self, store: Store, store_url: str
    ) -> None:
        code = """
            store.claim("s", ["a"], owner="victim", lease=2)
            print("claimed", flush=True)
            time.sleep(60)
        """
        victim = elsewhere(store_url, code)
        assert victim.stdout is not None
        with victim:
            assert victim.stdout.readline() == "claimed\n"
            assert ask(store, "a", owner="next") == [Claim("busy", "victim")]
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
