"""The flags of `fb consume` that stand for options: made from their declarations, so that name,
help and kind are written once."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from fbcli.options.gathered import OPTIONS, checked_options
from fbcli.values.declaration import Option

HIDDEN = ("broker",)
"""Options whose flag every command has anyway."""


def with_option_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command(**flags)` a keyword parameter, hence a flag and an `FB_…` variable, for each
    option."""
    signature = inspect.signature(command, eval_str=True)
    own = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]
    made = [_parameter(name, option) for name, option in OPTIONS.items() if name not in HIDDEN]

    def call(**values: Any) -> None:
        command(**values)

    call.__name__, call.__doc__ = command.__name__, command.__doc__
    call.__signature__ = signature.replace(parameters=[*own, *made])  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *made)}
    return call


def given(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were set by a flag or its variable, converted. Raises `BadSetting`,
    which names the one that it was."""

    def source(name: str) -> str:
        variable = _variable(name)
        return variable if os.environ.get(variable) == flags[name] else _flag(name)

    return checked_options(
        {name: value for name, value in flags.items() if value is not None}, source
    )


def _variable(name: str) -> str:
    return f"FB_{name.upper()}"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _parameter(name: str, option: Option) -> inspect.Parameter:
    flag, kind = _flag(name), bool if option.kind.is_switch else str
    default = "" if option.default is None else f" [default: {_shown(option.default)}]"
    shown = typer.Option(
        f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
        envvar=_variable(name),
        help=f"{option.help}{default}".replace("[", r"\["),
        metavar=option.kind.shown or None,
        rich_help_panel=option.panel,
        show_default=False,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, shown],
    )


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
