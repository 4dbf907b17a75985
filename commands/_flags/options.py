"""The flags of `fb consume` that stand for `Options`: made from the model, so that name, help and
limits are written once."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from fbcli.options import (
    Bytes,
    Concurrency,
    FailureThreshold,
    Names,
    Options,
    PerKeyLimit,
    Windows,
    Zone,
)

HIDDEN = ("broker",)
"""Options whose flag every command has anyway."""


METAVARS: dict[Any, str] = {
    Bytes: "SIZE",
    Concurrency: "N|auto",
    Names: "NAME,…",
    PerKeyLimit: "ARGUMENT=N",
    FailureThreshold: "N/DURATION",
    Windows: "WINDOW",
    Zone: "ZONE",
}
"""What stands in the help for values that are written in a way of their own."""


def with_option_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command(**flags)` a keyword parameter, hence a flag and an `FB_…` variable, for each
    option."""
    signature = inspect.signature(command, eval_str=True)
    own = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]
    made = [
        _parameter(name, field)
        for name, field in Options.model_fields.items()
        if name not in HIDDEN
    ]

    def call(**values: Any) -> None:
        command(**values)

    call.__name__, call.__doc__ = command.__name__, command.__doc__
    call.__signature__ = signature.replace(parameters=[*own, *made])  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *made)}
    return call


def given(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were set by a flag."""
    return {name: value for name, value in flags.items() if value is not None}


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    kind, metavar = _kind(field)
    flag = f"--{name.replace('_', '-')}"
    panel = field.json_schema_extra["panel"] if isinstance(field.json_schema_extra, dict) else None
    default = "" if field.default is None else f" [default: {_shown(field.default)}]"
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
        envvar=f"FB_{name.upper()}",
        help=f"{field.description}{default}".replace("[", r"\["),
        metavar=metavar,
        rich_help_panel=str(panel),
        show_default=False,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )


def _kind(field: FieldInfo) -> tuple[Any, str | None]:
    """Return the type that the command line converts to, and what stands for the value in the
    help."""
    if "(seconds)" in (field.description or "") or "Seconds" in (field.description or ""):
        return str, "SECONDS"
    annotation = field.annotation
    while get_origin(annotation) in (Union, types.UnionType, Annotated):
        if get_origin(annotation) is Annotated:
            if annotation in METAVARS:
                return str, METAVARS[annotation]
            annotation = get_args(annotation)[0]
        else:
            annotation = next(part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is Literal:
        return str, "|".join(get_args(annotation))
    return annotation, None


def _shown(value: Any) -> str:
    return (
        f"{value:g}"
        if isinstance(value, float)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )
