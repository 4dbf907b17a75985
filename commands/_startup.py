"""How commands start soon, leaving out what typer and Python would do at every start and need not;
and how they end, leaving nothing open."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

at_end = ExitStack()
"""Closes what a command has opened, when it has ended."""


class QuickGroup(TyperGroup):
    """A group of commands that starts soon."""

    def get_help_option(self, ctx: Any) -> Any:
        return as_typed(super().get_help_option(ctx))


class QuickCommand(TyperCommand):
    """A command that starts soon. Whatever was imported for it is there to stay: the garbage
    collector, which `fbcli.__main__` has stopped, does not look through it again."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            as_typed(parameter)

    def get_help_option(self, ctx: Any) -> Any:
        return as_typed(super().get_help_option(ctx))

    def invoke(self, ctx: Any) -> Any:
        gc.freeze()
        gc.enable()
        with at_end:
            return super().invoke(ctx)


class QuickTyper(typer.Typer):
    """A typer whose commands start soon."""

    def command(self, *args: Any, **kwargs: Any) -> Any:
        """Note: typer reads the annotations of a function four times, and has each text among them
        compiled anew; here that is done once."""
        register = super().command(*args, cls=QuickCommand, **kwargs)

        def declare(function: Callable[..., Any]) -> Callable[..., Any]:
            function.__annotations__ = inspect.get_annotations(function, eval_str=True)
            return register(function)

        return declare


def as_typed(parameter: Any) -> Any:
    """Have a parameter give text as it was typed, digits as a number, and nothing where nothing
    was; return it.

    Note: typer (0.29) has pydantic convert text into text, too, and nothing into nothing; only to
    load it takes 60 ms. Older ones convert by click, and are left alone. What cannot be used is
    left to typer, for its sentence.
    """
    described = getattr(parameter, "type_descriptor", None)
    if described is None or parameter.required or "process_value" in vars(parameter):
        return parameter
    convert = parameter.process_value

    def process_value(ctx: Any, value: Any) -> Any:
        if value is None:
            value = () if getattr(parameter, "multiple", False) or parameter.nargs == -1 else None
        elif described.annotation == list[str] and isinstance(value, tuple):
            value = list(value)
        elif described.annotation is int and _is_plain(value, described.parameter_info):
            value = int(value)
        elif not (described.annotation is str and isinstance(value, str)):
            return convert(ctx, value)
        return parameter.callback(ctx, parameter, value) if parameter.callback else value

    parameter.process_value = process_value
    return parameter


def _is_plain(value: Any, limits: Any) -> bool:
    """Whether a value is the digits of a number that lies within the limits of its parameter."""
    if not (isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10):
        return False
    low, high = limits.min, limits.max
    return (low is None or int(value) >= low) and (high is None or int(value) <= high)
