"""Which controls a message passes: plans for one consumer, that of the function and those of
messages with options of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from fbcli.arguments.signature import Signature
from fbcli.controls import claims
from fbcli.controls.base import Admission
from fbcli.controls.claims import Claims
from fbcli.controls.dedupe import Dedupe, Unique
from fbcli.controls.delay import Delay
from fbcli.controls.expiry import Expiry
from fbcli.controls.per_key import MaxPerKey
from fbcli.controls.timeout import Deadlines
from fbcli.engine.plan import Plan
from fbcli.errors import BadMessage, BadSetting
from fbcli.options import PER_MESSAGE, Options, TaskOptions, explain
from fbcli.stores.base import Store
from fbcli.stores.keys import PUSHER, dedupe_space, per_key_space, unique_space

MOST_PLANS = 1000
"""How many combinations of per-message options are kept compiled."""


class Planner:
    """Makes the plans of one consumer. `function` is in the form that its pool calls."""

    def __init__(
        self,
        *,
        queue: str,
        address: str,
        function: Callable[..., Any],
        signature: Signature,
        rows: str,
        options: Options,
        store: Store,
        owner: str,
        deadlines: Deadlines,
    ) -> None:
        self._queue = queue
        self._address = address
        self._function = function
        self._signature = signature
        self._rows = rows
        self._options = options
        self._deadlines = deadlines
        self._plans: dict[tuple[Any, ...], Plan] = {}
        lease = options.heartbeat * claims.LEASE_BEATS

        def claiming(space: str, by: str = owner, limit: int = 1) -> Claims:
            return Claims(store, space, by, lease, limit)

        self._shared: list[Admission] = []
        """Controls that go by what is in the store, the same for all messages."""
        self.spaces: list[str] = []
        """Where the consumer holds claims while its tasks run."""
        if options.dedupe:
            space = dedupe_space(queue)
            self._shared.append(Dedupe(claiming(space), options.dedupe_key, options.dedupe_ttl))
            self.spaces.append(space)
        if options.max_per_key is not None:
            argument, limit = options.max_per_key
            space = per_key_space(queue, argument)
            self._shared.append(MaxPerKey(claiming(space, limit=limit), argument))
            self.spaces.append(space)
        unique = claiming(unique_space(queue), PUSHER)
        self._unique = Unique(unique, remembered=options.dedupe, ttl=options.dedupe_ttl)
        self.plan = self._compile(options, keeps=options.results)
        """That of messages which set nothing for themselves."""

    def plan_for(self, extra: dict[str, Any]) -> Plan:
        """Return the plan of a message that sets options for itself; raises `BadMessage` when they
        cannot be used."""
        changes = {name: extra[name] for name in PER_MESSAGE if name in extra}
        keeps = bool(extra.get("result", self._options.results))
        delayed, unique = "delay_until" in extra, "unique" in extra
        try:
            key = (*sorted(changes.items()), keeps, delayed, unique)
            plan = self._plans.get(key)
        except TypeError:
            raise BadMessage(
                "The message's own options cannot be used: they are no plain values."
            ) from None
        if plan is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            options = self._changed(changes) if changes else self._options
            plan = self._plans[key] = self._compile(
                options, keeps=keeps, delayed=delayed, unique=unique
            )
        return plan

    def _changed(self, changes: dict[str, Any]) -> Options:
        try:
            checked = TaskOptions(**changes).model_dump(exclude_unset=True)
            return Options.make({**dict(self._options), **checked}, source=lambda name: "extra")
        except ValidationError as error:
            text = explain(error, TaskOptions, lambda name: "extra")
            raise BadMessage(f"The message's own options cannot be used: {text}") from None
        except BadSetting as error:
            raise BadMessage(f"The message's own options cannot be used: {error}") from None

    def _compile(
        self, options: Options, *, keeps: bool, delayed: bool = False, unique: bool = False
    ) -> Plan:
        admissions: list[Admission] = []
        if delayed:
            admissions.append(Delay())
        if options.expires is not None:
            admissions.append(Expiry(options.expires))
        if unique:
            admissions.insert(0, self._unique)
        admissions += self._shared
        if options.timeout is not None:
            self._deadlines.expect(options.timeout)
        return Plan(
            self._queue,
            self._address,
            self._function,
            self._signature,
            options,
            rows=self._rows,
            keeps=keeps,
            admissions=admissions,
        )
