"""How an option is declared, once, beside what it governs: a field of a class, with its kind, its
default, and a sentence.

    class BreakerControl(Control):
        breaker: Threshold | None = option(None, kinds.threshold(), "Rate", "Stop taking …")

From there it is a flag of `fb consume`, a variable (`FB_BREAKER`), an argument of `@boost(…)`, a
key of `fb.toml`, and a field of `fbcli.Options`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fbcli.values.kinds import Kind

if TYPE_CHECKING:
    from pydantic import BaseModel

    class Declaration(BaseModel):
        """For type checkers, the fields of declarations are those of the models."""

else:

    class Declaration:
        """What options are declared in. Not a model itself: most commands need no pydantic."""


class Option(NamedTuple):
    """One option, as it is declared."""

    default: Any
    kind: Kind
    panel: str
    """The part of the help in which it stands."""
    help: str
    needs: tuple[str, ...] = ()
    """Options of which one must be set, too, or it has no effect."""

    def check(self, value: object) -> Any:
        """Return `value` as the option's kind. Raises `ValueError` with a sentence."""
        return None if value is None and self.default is None else self.kind.check(value)


def option(
    default: Any, kind: Kind, panel: str = "", help: str = "", *, needs: tuple[str, ...] = ()
) -> Any:
    """Declare an option as the value of a field. Options of messages stand in no help."""
    return Option(default, kind, panel, help, needs)


def options_of(declaration: type) -> dict[str, Option]:
    """Return the options that a class declares, those of its bases first."""
    found: dict[str, Option] = {}
    for base in declaration.__bases__:
        found |= options_of(base)
    found |= {name: each for name, each in vars(declaration).items() if isinstance(each, Option)}
    return found
