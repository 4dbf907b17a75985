"""Print the lowest version that each dependency may have, a requirement a line: `pip install -r`.

Of the project and of the extras that are named: `python .ci/lowest.py redis gevent`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))[
    "project"
]
wanted = [*project["dependencies"]]
for extra in sys.argv[1:]:
    wanted += project["optional-dependencies"][extra]
for requirement in wanted:
    version, semicolon, marker = requirement.partition(";")
    pinned = re.sub(r">=([\w.]+)(,<[\w.]+)?", r"==\1", version)
    print(f"{pinned}{semicolon}{marker}")
