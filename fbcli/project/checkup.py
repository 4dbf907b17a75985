"""Are the settings sound? Every table of `fb.toml`, every address in it (importing nothing), broker
and store."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from fbcli.address.address import Address
from fbcli.address.outline import bound_names, find_addresses, has_source
from fbcli.broker_registry import find_broker
from fbcli.clients.loading import mask
from fbcli.errors import AddressNotFound, BadSetting, ExitCode, FbError, did_you_mean
from fbcli.options.gathered import checked_options
from fbcli.settings import Settings


class Finding(msgspec.Struct):
    """One thing that was looked at."""

    check: str
    ok: bool
    detail: str
    exit_code: int = ExitCode.OK


def checkup(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each thing, as it is looked at; the slow ones, broker and store, at the
    end."""
    yield Finding("settings", True, str(settings.file or "no fb.toml: built-in settings"))
    yield _options("defaults", {name: default.value for name, default in settings.defaults.items()})
    for name, context in settings.contexts.items():
        yield _options(
            f"contexts.{name}", context.get("defaults", {}), broker=context.get("broker")
        )
    for text, values in settings.tasks.items():
        yield _task(text, values, settings)
    for url in dict.fromkeys([settings.broker_url, *_own_brokers(settings)]):
        yield _looked_at("broker", partial(_reach_broker, url, settings))
    yield _looked_at("store", partial(_reach_store, settings))


def verdict(findings: list[Finding]) -> ExitCode:
    """Return the exit code: 0, or that of the first thing that is wrong."""
    return next(
        (ExitCode(finding.exit_code) for finding in findings if not finding.ok), ExitCode.OK
    )


def _looked_at(check: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(check, True, mask(look()))
    except FbError as error:
        return Finding(check, False, mask(str(error)), error.exit_code)


def _options(table: str, values: Mapping[str, Any], broker: object = None) -> Finding:
    def look() -> str:
        checked_options(values, lambda name: f"[{table}]")
        if broker is not None:
            find_broker(str(broker).partition("://")[0])
        return f"{len(values)} {'option' if len(values) == 1 else 'options'}"

    return _looked_at(f"[{table}]", look)


def _task(text: str, values: Mapping[str, Any], settings: Settings) -> Finding:
    table = f'tasks."{text}"'

    def look() -> str:
        address = Address.parse(text, settings.root)
        if address.text != text:
            raise BadSetting(
                f"[{table}] matches no function as it is written: write {address.text!r}."
            )
        checked_options(values, lambda name: f"[{table}]")
        return _where(address, settings)

    return _looked_at(f"[{table}]", look)


def _where(address: Address, settings: Settings) -> str:
    """Say where a function is; raises `AddressNotFound` by what its source says."""
    if not has_source(settings.root, address):
        package = address.module.partition(".")[0]
        if not address.is_file and importlib.util.find_spec(package) is not None:
            return f"{package} is installed; its functions were not looked for"
        raise AddressNotFound(
            f"There is no module {address.module!r} below {settings.root}."
            + did_you_mean(address.text, find_addresses(settings.root))
        )
    names = bound_names(settings.root, address)
    if address.name.partition(".")[0] not in names and "*" not in names:
        near = did_you_mean(address.text, find_addresses(settings.root, f"{address.module}:"))
        raise AddressNotFound(f"There is no function {address.name!r} in {address.module}.{near}")
    return "found"


def _own_brokers(settings: Settings) -> list[str]:
    return [str(values["broker"]) for values in settings.tasks.values() if values.get("broker")]


def _reach_broker(url: str, settings: Settings) -> str:
    broker = settings.open_broker(url)
    if broker.capabilities.queues:
        broker.queues()
    elif broker.capabilities.size:
        broker.size("fb")
    return url


def _reach_store(settings: Settings) -> str:
    settings.open_store().pauses()
    return settings.store_url
