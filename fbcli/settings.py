"""Where settings come from: flags, `FB_…` variables, `@boost(…)`, `fb.toml` (or `[tool.fb]` of
`pyproject.toml`), the user's own file; in this order. And the connections that follow from them.

    broker = "redis://:${REDIS_PASSWORD}@10.0.0.5/0"     # ${NAME} is taken from the environment
    context = "dev"
    [defaults]
    retries = 5
    [tasks."mymod:task"]
    qps = 5
    [contexts.dev]
    broker = "sqlite:///dev.db"
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from fbcli.broker import Broker
from fbcli.broker_registry import open_broker
from fbcli.clients.loading import mask
from fbcli.emulation import emulated
from fbcli.errors import BadSetting, Unsupported, UsageError, did_you_mean
from fbcli.options.gathered import OPTIONS, checked_options, unknown
from fbcli.platform.forks import PerProcess
from fbcli.stores import open_store, store_beside

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from fbcli.options.model import Options
    from fbcli.stores.base import Store

T = TypeVar("T")

FILE = "fb.toml"
FOLDER = ".fb"
"""Folder of the embedded default below the project's root; it holds the queues, and ignores itself
in git."""

BESIDE = "beside the broker"
"""Where a store comes from that nobody has chosen."""

REACHES = ("process", "host", "network")
"""Who can share a queue or a store, from few to all."""

TOP_KEYS = ("broker", "store", "context", "defaults", "tasks", "contexts")
CONTEXT_KEYS = ("broker", "store", "defaults")
_VARIABLE = re.compile(r"\$\{(\w+)\}")


class Origin(NamedTuple):
    """A setting's value and where it came from."""

    value: Any
    source: str


@dataclass(frozen=True)
class Settings:
    """All settings of a process, resolved once."""

    root: Path
    """The project's folder: the nearest one upward with a settings file, else the working
    directory."""
    file: Path | None
    context: str | None
    context_source: str
    broker: Origin
    store: Origin
    defaults: Mapping[str, Origin] = field(default_factory=dict)
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    contexts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def broker_url(self) -> str:
        """URL of the broker of this context."""
        return str(self.broker.value)

    @property
    def store_url(self) -> str:
        """URL of the store of this context."""
        return str(self.store.value)

    def origins(
        self,
        address: str | None,
        decorated: Mapping[str, Any] | None = None,
        flags: Mapping[str, Any] | None = None,
    ) -> dict[str, Origin]:
        """Return every option for one function, with where its value came from. Values are as
        written, not yet checked."""
        from_env = {
            name: self.env[variable]
            for name in OPTIONS
            if (variable := f"FB_{name.upper()}") in self.env and name not in ("broker", "queue")
        }
        layers: list[tuple[str, Mapping[str, Any]]] = [
            ("built-in", {name: option.default for name, option in OPTIONS.items()}),
            *((default.source, {name: default.value}) for name, default in self.defaults.items()),
            (f'{self._file_name} [tasks."{address}"]', self.tasks.get(address or "", {})),
            ("@boost", decorated or {}),
            ("environment", from_env),
            ("flag", flags or {}),
        ]
        found: dict[str, Origin] = {}
        for source, values in layers:
            for name, value in values.items():
                found[name] = Origin(
                    value, f"FB_{name.upper()}" if source == "environment" else source
                )
        return found

    def options(
        self,
        address: str | None,
        decorated: Mapping[str, Any] | None = None,
        flags: Mapping[str, Any] | None = None,
    ) -> Options:
        """Return the checked options of one function; raises `BadSetting` that says where the wrong
        value came from."""
        # pydantic, which most commands do not need
        from fbcli.options.model import Options  # noqa: PLC0415

        return Options(**self.values(address, decorated, flags))

    def values(
        self,
        address: str | None,
        decorated: Mapping[str, Any] | None = None,
        flags: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the checked options of one function by their names; raises `BadSetting` that says
        where the wrong value came from."""
        found = self.origins(address, decorated, flags)
        return checked_options(
            {name: origin.value for name, origin in found.items()}, lambda name: found[name].source
        )

    @property
    def _file_name(self) -> str:
        return self.file.name if self.file else FILE

    @cached_property
    def _links(self) -> Connections:
        return Connections(self)

    def open_broker(self, url: str | None = None) -> Broker:
        """Return the broker of `url` (None: of this context), one per process and URL."""
        return self._links.broker(self.broker_url if url is None else absolute(url, self.root))

    def open_store(self) -> Store:
        """Return the store of this context, one per process."""
        return self._links.store()

    def store_for(self, broker: Broker, what: str) -> Store:
        """Return the store of this context for something that all who share `broker` must find
        there. Raises `Unsupported` where it reaches less far than the broker, and nobody has chosen
        it: `what` could not be done then ("delay messages")."""
        store = self.open_store()
        reach = broker.capabilities.reach
        if self.store.source == BESIDE and REACHES.index(store.reach) < REACHES.index(reach):
            raise Unsupported(
                f"{broker.scheme}:// cannot {what} without a store that is shared as far as its"
                f" queues are, by a {reach}; {mask(store.url)} is not. Name one: store ="
                ' "redis://…" in fb.toml, FB_STORE or --store (the same file, too, if all are on'
                " one host)."
            )
        return store

    def close(self) -> None:
        """Close the brokers and stores that were opened here. The next use opens them anew."""
        self._links.close()


def load(
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    *,
    context: str | None = None,
    broker: str | None = None,
    store: str | None = None,
) -> Settings:
    """Resolve the settings. The keyword arguments are flags, and win. Raises `BadSetting`."""
    cwd = Path.cwd() if cwd is None else cwd
    env = os.environ if env is None else env
    root, file, project = _project(cwd)
    user_file = (
        Path(env.get("XDG_CONFIG_HOME") or Path(env.get("HOME", "~")).expanduser() / ".config")
        / "fbcli"
        / "config.toml"
    )
    user = _read(user_file) if user_file.is_file() else {}
    for path, data in ((file, project), (user_file, user)):
        _check_keys(data, TOP_KEYS, str(path))
        for name, values in data.get("contexts", {}).items():
            _check_keys(values, CONTEXT_KEYS, f"{path} [contexts.{name}]")
        for name in [
            *data.get("defaults", {}),
            *(key for task in data.get("tasks", {}).values() for key in task),
        ]:
            if name not in OPTIONS:
                raise _unknown_option(name, path)
    contexts = {**user.get("contexts", {}), **project.get("contexts", {})}
    context, context_source = next(
        (
            (value, source)
            for value, source in (
                (context, "FB_CONTEXT" if context == env.get("FB_CONTEXT") else "flag"),
                (env.get("FB_CONTEXT"), "FB_CONTEXT"),
                (project.get("context"), str(file)),
                (user.get("context"), str(user_file)),
            )
            if value
        ),
        (None, "none chosen"),
    )
    if context is not None and context not in contexts:
        raise BadSetting(
            f"There is no context {context!r}.{did_you_mean(context, contexts)} Contexts are"
            f" [contexts.NAME] in {FILE}."
        )
    chosen = contexts.get(context or "", {})
    label = f"context {context}"
    name = str(file or FILE)

    def pick(key: str, flag: str | None) -> Origin | None:
        for value, source, base in (
            (flag, "flag", cwd),
            (env.get(f"FB_{key.upper()}"), f"FB_{key.upper()}", cwd),
            (chosen.get(key), label, root),
            (project.get(key), name, root),
            (user.get(key), str(user_file), root),
        ):
            if value:
                if not isinstance(value, str):
                    raise BadSetting(
                        f"{source} sets {key} = {value!r}; a {key} is a URL in quotes."
                    )
                return Origin(absolute(_expand(value, env, source), base), source)
        return None

    broker_origin = pick("broker", broker) or Origin(
        f"sqlite:///{root / FOLDER / 'queue.db'}", "built-in"
    )
    store_origin = pick("store", store) or Origin(
        store_beside(broker_origin.value, root / FOLDER), BESIDE
    )
    return Settings(
        root=root,
        file=file,
        context=context,
        context_source=context_source,
        broker=broker_origin,
        store=store_origin,
        defaults={
            option: Origin(value, f"{source} [defaults]")
            for source, layer in ((user_file, user), (file and file.name, project), (label, chosen))
            for option, value in layer.get("defaults", {}).items()
        },
        tasks=project.get("tasks", {}),
        contexts=contexts,
        env=env,
    )


def _unknown_option(name: str, path: Path | None) -> BadSetting:
    return unknown(name, OPTIONS, lambda name: str(path))


def absolute(url: str, base: Path) -> str:
    """Return `url` with the path of an SQLite file made absolute, from `base`."""
    scheme, separator, rest = url.partition(":///")
    if scheme == "sqlite" and separator and rest and not rest.startswith(("/", "~")):
        return f"sqlite:///{base / rest}"
    return url


def _project(cwd: Path) -> tuple[Path, Path | None, dict[str, Any]]:
    """Find the settings file upward from `cwd`: its folder, itself, what it says."""
    for folder in (cwd, *cwd.parents):
        own = folder / FILE
        if own.is_file():
            return folder, own, _read(own)
        shared = folder / "pyproject.toml"
        if shared.is_file():
            tool = _read(shared).get("tool", {})
            own_part: dict[str, Any] | None = tool.get("fb") if isinstance(tool, dict) else None
            if isinstance(own_part, dict):
                return folder, shared, own_part
    return cwd, None, {}


def _read(path: Path) -> dict[str, Any]:
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


def _expand(text: str, env: Mapping[str, str], source: str) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in env:
            raise BadSetting(
                f"{source} uses ${{{match[1]}}}, and there is no such variable in the environment."
            )
        return env[match[1]]

    return _VARIABLE.sub(value, text)


class Connections:
    """The open brokers and stores of a process. Not shared with a forked child: it opens its
    own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._brokers: dict[str, PerProcess[Broker]] = {}
        self._stores: dict[str, PerProcess[Store]] = {}

    def broker(self, url: str) -> Broker:
        return self._brokers.setdefault(url, PerProcess()).get(
            lambda: self._make(self._open_broker, url)
        )

    def _open_broker(self, url: str) -> Broker:
        broker = open_broker(url)
        return emulated(broker, partial(self._settings.store_for, broker))

    def store(self) -> Store:
        url = self._settings.store_url
        return self._stores.setdefault(url, PerProcess()).get(lambda: self._make(open_store, url))

    def close(self) -> None:
        owned: list[PerProcess[Any]] = [*self._brokers.values(), *self._stores.values()]
        for each in owned:
            opened = each.take()
            if opened is not None:
                opened.close()

    def _make(self, make: Callable[[str], T], url: str) -> T:
        self._make_folder(url)
        return make(url)

    def _make_folder(self, url: str) -> None:
        """Make the folder of the embedded default, which git shall ignore."""
        folder = self._settings.root / FOLDER
        if url.startswith(f"sqlite:///{folder}/") and not folder.exists():
            try:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / ".gitignore").write_text("*\n", encoding="utf-8")
            except OSError as error:
                raise UsageError(
                    f"Cannot make the folder {folder} for the embedded queue: {error.strerror}. "
                    "Give another place by --broker sqlite:////path/queue.db or FB_BROKER."
                ) from None
