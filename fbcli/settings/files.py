"""The settings files: where they are, and whether what is in them are settings at all."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fbcli.errors import BadSetting, did_you_mean

FILE = "fb.toml"

TOP_KEYS = ("broker", "store", "context", "defaults", "tasks", "contexts")
CONTEXT_KEYS = ("broker", "store", "defaults")


class SettingsFile(NamedTuple):
    """What one file says."""

    path: Path | None
    """None: there is none."""
    tables: Mapping[str, Any]

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Options of all functions."""
        found: Mapping[str, Any] = self.tables.get("defaults", {})
        return found

    @property
    def tasks(self) -> Mapping[str, Mapping[str, Any]]:
        """Options of single functions, by their addresses."""
        found: Mapping[str, Mapping[str, Any]] = self.tables.get("tasks", {})
        return found

    @property
    def contexts(self) -> Mapping[str, Mapping[str, Any]]:
        """Places to work on, by their names."""
        found: Mapping[str, Mapping[str, Any]] = self.tables.get("contexts", {})
        return found

    def check(self) -> None:
        """Raise `BadSetting` when something in it has no meaning. Values of options are not looked
        at."""
        _check_keys(self.tables, TOP_KEYS, str(self.path))
        for name, values in self.contexts.items():
            _check_keys(values, CONTEXT_KEYS, f"{self.path} [contexts.{name}]")
        names = set(self._option_names())
        if names:
            # the controls, which most commands need no more of
            from fbcli.options.checking import unknown  # noqa: PLC0415
            from fbcli.options.gathered import OPTIONS  # noqa: PLC0415

            for name in names - OPTIONS.keys():
                raise unknown(name, OPTIONS, lambda name: str(self.path))

    def _option_names(self) -> Iterator[str]:
        yield from self.defaults
        for values in self.tasks.values():
            yield from values


def project_file(cwd: Path) -> tuple[Path, SettingsFile]:
    """Return the project's folder, the nearest one upward from `cwd` with a settings file, and that
    file; without one, `cwd`."""
    for folder in (cwd, *cwd.parents):
        own = folder / FILE
        if own.is_file():
            return folder, SettingsFile(own, _read(own))
        shared = folder / "pyproject.toml"
        if shared.is_file():
            tool = _read(shared).get("tool", {})
            part = tool.get("fb") if isinstance(tool, dict) else None
            if isinstance(part, dict):
                return folder, SettingsFile(shared, part)
    return cwd, SettingsFile(None, {})


def user_file(env: Mapping[str, str]) -> SettingsFile:
    """Return the user's own file."""
    folder = env.get("XDG_CONFIG_HOME") or Path(env.get("HOME", "~")).expanduser() / ".config"
    path = Path(folder) / "fbcli" / "config.toml"
    return SettingsFile(path, _read(path) if path.is_file() else {})


def _read(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415  where there is a file
    else:
        import tomli as tomllib  # noqa: PLC0415
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise BadSetting(f"{path} is not TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path} cannot be read: {error}") from None


def _check_keys(data: Any, known: tuple[str, ...], where: str) -> None:
    if not isinstance(data, Mapping):
        raise BadSetting(f"{where} must be a table of settings.")
    for key, value in data.items():
        if key not in known:
            raise BadSetting(
                f"{where} sets {key!r}, which is not a setting.{did_you_mean(key, known)}"
            )
        if key in ("defaults", "tasks", "contexts") and not isinstance(value, Mapping):
            raise BadSetting(f"{where}: [{key}] must be a table.")
        if key in ("tasks", "contexts") and not all(
            isinstance(inner, Mapping) for inner in value.values()
        ):
            raise BadSetting(f"{where}: every entry of [{key}] must be a table.")
