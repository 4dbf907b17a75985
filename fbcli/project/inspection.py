"""What settings are in force and where each comes from, for `fb config show`. Passwords are
masked."""

from __future__ import annotations

from typing import Any, NamedTuple

from fbcli.booster import Booster
from fbcli.clients.loading import mask
from fbcli.settings import Settings
from fbcli.values.names import join_names
from fbcli.values.per_key import PerKey
from fbcli.values.thresholds import Threshold


class SettingRow(NamedTuple):
    """One setting."""

    setting: str
    value: Any
    source: str


def rows_of(settings: Settings, booster: Booster[Any, Any] | None = None) -> list[SettingRow]:
    """Return the settings of the process and, with `booster`, the options of its function, else
    those that hold for all.

    Raises `BadSetting` for a value that cannot be used.
    """
    rows = [
        SettingRow(
            "file",
            str(settings.file) if settings.file else None,
            "nearest folder upward" if settings.file else "none found",
        ),
        SettingRow(
            "root", str(settings.root), "folder of the file" if settings.file else "working folder"
        ),
        SettingRow("context", settings.context, settings.context_source),
        SettingRow("broker", mask(settings.broker_url), settings.broker.source),
        SettingRow("store", mask(settings.store_url), settings.store.source),
    ]
    if booster is None:
        origins, options = settings.origins(None), settings.options(None)
    else:
        origins, options = booster.origins, booster.options
    for name, value in options:
        row = SettingRow(name, _as_written(value), origins[name].source)
        if name == "broker":
            if value:
                rows[3] = row._replace(value=mask(settings.meant(value)))
        elif name == "queue" and booster is not None and not value:
            rows.append(row._replace(value=booster.address.queue, source="the address"))
        elif name != "queue" or booster is not None:
            rows.append(row)
    return rows


def _as_written(value: Any) -> Any:
    """Return an option's value as a person writes it."""
    if isinstance(value, PerKey | Threshold):
        return str(value)
    return join_names(value) if isinstance(value, tuple) else value
