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

from fbcli.settings.files import FILE
from fbcli.settings.resolving import load
from fbcli.settings.settings import Origin, Settings

__all__ = ["FILE", "Origin", "Settings", "load"]
