"""The fenced blocks of a document, and a shell that runs them as they are written."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.installed import ROOT, clean_environment

STRICT = ("-W", "error", "-W", "ignore:unclosed database:ResourceWarning")
"""Warnings are errors; but a short program may leave it to its end to close the queue (Python 3.13
begins to warn of that)."""

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)

READER = """\
set -euo pipefail
# A person at a terminal: stops a consumer once its queues are empty, and has one running while
# waiting for a result.
fb() {
    local words=("$@")
    case "$1 $*" in
        *--burst* | *--help* | *--max-tasks*) command fb "$@" ;;
        consume*)
            local queues=()
            for word in "${words[@]:1}"; do [[ $word == *:* ]] && queues+=("$word") || break; done
            command fb "$@" &
            local consumer=$!
            for queue in "${queues[@]}"; do
                until [[ $(command fb queues "$queue" --json) == *'"consumers":'[1-9]* ]]; do
                    sleep 0.1
                done
            done
            command fb wait "${queues[@]}" --timeout 60
            kill -TERM $consumer
            wait $consumer
            ;;
        call*)
            command fb consume "$2" 2>/dev/null >&2 &
            local consumer=$!
            command fb "$@"
            kill -TERM $consumer
            wait $consumer
            ;;
        *) command fb "$@" ;;
    esac
}
"""


class Block(NamedTuple):
    """A fenced block: where it begins, what it is, what it says."""

    line: int
    language: str
    text: str


def blocks(document: str, language: str) -> Iterator[Block]:
    """Yield the blocks of `document` (a path below the root) in one language."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        if match[1] == language:
            yield Block(text.count("\n", 0, match.start()) + 1, match[1], match[2])


def run(script: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the text of a block in bash, in `folder`, with the installed `fb`; it must succeed."""
    done = subprocess.run(
        ["bash", "-c", READER + script],
        cwd=folder,
        env=clean_environment(folder, TERM="dumb", **env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, (
        f"exit code {done.returncode}\n{script}\n{done.stdout}\n{done.stderr}"
    )
    return done
