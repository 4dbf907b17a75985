"""The options as pydantic models, made of what is declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from fbcli.options.checking import Source, unknown, unusable
from fbcli.options.gathered import (
    MESSAGE_OPTIONS,
    OPTIONS,
    FunctionDeclarations,
    MessageDeclarations,
)
from fbcli.values.declaration import Option

M = TypeVar("M", bound="Checked")


class Checked(BaseModel):
    """What both models have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def make(cls: type[M], values: Mapping[str, Any], *, source: Source) -> M:
        """Return options from loose values; raises `BadSetting` that says what is wrong, and by
        `source(name)` where it is."""
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else "value"
            if first["type"] == "extra_forbidden":
                raise unknown(name, cls.model_fields, source) from None
            reason = first["msg"].removeprefix("Value error, ")
            raise unusable(name, first["input"], reason, source) from None


class FunctionOptions(Checked):
    """What can be asked of the options of a function."""

    def without_effect(self) -> list[str]:
        """Return a sentence for each option that was set and changes nothing while a consumer runs,
        since another one is not set."""
        return [
            f"{name} has no effect here without {option.needs[0]}."
            for name, option in OPTIONS.items()
            if option.needs
            and getattr(self, name)
            and not any(getattr(self, needed) for needed in option.needs)
        ]


def _fields(declared: type, options: Mapping[str, Option]) -> dict[str, Any]:
    """Return the fields of a model: the declared types, and before them the checks."""
    types = get_type_hints(declared)
    return {
        name: (
            Annotated[types[name], BeforeValidator(option.check)],
            Field(
                option.default,
                description=option.help or None,
                json_schema_extra={"panel": option.panel} if option.panel else None,
            ),
        )
        for name, option in options.items()
    }


if TYPE_CHECKING:

    class Options(FunctionDeclarations, FunctionOptions):
        """All that can be set for one function. Frozen; `fb config show ADDRESS` prints each value
        and where it came from."""

    class TaskOptions(MessageDeclarations, Checked):
        """What one message may set for itself, beside its arguments. Travels in `extra`, only where
        set."""

else:
    # They are pickled by the names that the public knows.
    Options = create_model(
        "Options",
        __base__=FunctionOptions,
        __module__="fbcli",
        **_fields(FunctionDeclarations, OPTIONS),
    )
    Options.__doc__ = (
        "All that can be set for one function. Frozen; `fb config show ADDRESS` prints each value"
        " and where it came from."
    )
    TaskOptions = create_model(
        "TaskOptions",
        __base__=Checked,
        __module__="fbcli",
        **_fields(MessageDeclarations, MESSAGE_OPTIONS),
    )
    TaskOptions.__doc__ = (
        "What one message may set for itself, beside its arguments. Travels in `extra`, only where"
        " set."
    )
