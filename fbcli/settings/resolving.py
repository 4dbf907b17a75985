"""From flags, variables and files to the settings of a process."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fbcli.clients.files import absolute
from fbcli.errors import BadSetting, did_you_mean
from fbcli.settings.connections import EMBEDDED, FOLDER
from fbcli.settings.files import FILE, project_file, user_file
from fbcli.settings.settings import BESIDE, Origin, Settings
from fbcli.stores import store_beside

_VARIABLE = re.compile(r"\$\{(\w+)\}")


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
    root, project = project_file(cwd)
    user = user_file(env)
    for file in (project, user):
        file.check()
    contexts = {**user.contexts, **project.contexts}
    context, context_source = next(
        (
            (value, source)
            for value, source in (
                (context, "FB_CONTEXT" if context == env.get("FB_CONTEXT") else "flag"),
                (env.get("FB_CONTEXT"), "FB_CONTEXT"),
                (project.tables.get("context"), str(project.path)),
                (user.tables.get("context"), str(user.path)),
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

    def pick(key: str, flag: str | None) -> Origin | None:
        for value, source, base in (
            (flag, "flag", cwd),
            (env.get(f"FB_{key.upper()}"), f"FB_{key.upper()}", cwd),
            (chosen.get(key), label, root),
            (project.tables.get(key), str(project.path), root),
            (user.tables.get(key), str(user.path), root),
        ):
            if value:
                if not isinstance(value, str):
                    raise BadSetting(
                        f"{source} sets {key} = {value!r}; a {key} is a URL in quotes."
                    )
                return Origin(absolute(_expanded(value, env, source), base), source)
        return None

    folder = root / FOLDER
    broker_origin = pick("broker", broker) or Origin(EMBEDDED.format(folder=folder), "built-in")
    return Settings(
        root=root,
        file=project.path,
        context=context,
        context_source=context_source,
        broker=broker_origin,
        store=pick("store", store) or Origin(store_beside(broker_origin.value, folder), BESIDE),
        defaults={
            **_defaults(user.defaults, user.path),
            **_defaults(project.defaults, project.path and project.path.name),
            **_defaults(chosen.get("defaults", {}), label),
        },
        tasks=project.tasks,
        contexts=contexts,
        env=env,
    )


def _defaults(values: Mapping[str, Any], source: object) -> dict[str, Origin]:
    return {name: Origin(value, f"{source} [defaults]") for name, value in values.items()}


def _expanded(text: str, env: Mapping[str, str], source: str) -> str:
    """Return `text` with its `${NAME}` taken from the environment."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in env:
            raise BadSetting(
                f"{source} uses ${{{match[1]}}}, and there is no such variable in the environment."
            )
        return env[match[1]]

    return _VARIABLE.sub(value, text)
