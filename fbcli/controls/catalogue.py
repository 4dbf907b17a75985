"""The one list of controls. A control is a file of this folder and its lines here; its flags,
variables, keys of `fb.toml`, arguments of `@boost` and their documentation follow from what it
declares.

Listed is what declares it (`Control`): with it come its options, and the gate or the admission
(which may close, too) that is on where they switch it on. Pause and cancel have no options: they go
by what the store says, and every consumer has them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from fbcli.controls.base import Admission, Control, Gate, Place
from fbcli.controls.breaker import BreakerControl
from fbcli.controls.dedupe import DedupeControl, DedupeMessage, UniqueControl
from fbcli.controls.delay import DelayControl, DelayMessage
from fbcli.controls.expiry import ExpiryControl, ExpiryMessage
from fbcli.controls.per_key import PerKeyControl
from fbcli.controls.rate import RateControl
from fbcli.controls.retry import RetryControl, RetryMessage
from fbcli.controls.timeout import TimeoutControl, TimeoutMessage
from fbcli.controls.window import WindowControl
from fbcli.values.declaration import options_of


class Controls(
    RateControl,
    RetryControl,
    TimeoutControl,
    UniqueControl,
    DelayControl,
    ExpiryControl,
    DedupeControl,
    PerKeyControl,
    WindowControl,
    BreakerControl,
):
    """What can be set for a function. Admissions are asked in this order."""


class MessageControls(RetryMessage, TimeoutMessage, ExpiryMessage, DelayMessage, DedupeMessage):
    """What a message can set for itself."""


CONTROLS = cast(tuple[type[Control], ...], Controls.__bases__)

CARRIED = frozenset(name for control in CONTROLS for name in control.carries)
"""Keys of `extra` by which controls go."""

OVERRIDES = frozenset(
    name
    for name, option in options_of(MessageControls).items()
    if (own := options_of(Controls).get(name)) is not None and own.kind is option.kind
)
"""Options of a message that take the place of the function's."""


def gates_of(options: Controls, place: Place, *, live: bool) -> list[Gate]:
    """Return the gates that are on: those which `fb limit` may change, or those that stay."""
    made = (control.gate(options, place) for control in CONTROLS if control.live is live)
    return [gate for gate in made if gate is not None]


def admissions_of(options: Controls, place: Place, carried: Collection[str]) -> list[Admission]:
    """Return the admissions that are on, in order, for messages that carry these keys in
    `extra`."""
    made = (control.admission(options, place, carried) for control in CONTROLS)
    return [admission for admission in made if admission is not None]
