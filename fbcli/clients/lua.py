"""Lua that runs inside Redis: scripts that are called by their hash, and several steps that are
made one script, and so one indivisible step and one round trip, whoever wrote each of them.

Knows no client: who has a connection sends `LuaScript.command`, and with `text` for `sha` when the
server does not know it (NOSCRIPT).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

Word = str | bytes | int | float

_pack = msgspec.msgpack.Encoder().encode


class LuaScript:
    """A Lua script, called by its hash."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.text = source.encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()


class Step(NamedTuple):
    """A script with what it works on. Within its text, KEYS and ARGV are its own."""

    text: str
    keys: Sequence[str]
    arguments: Sequence[Word]


class Call(NamedTuple):
    """A script, ready to be sent: `EVALSHA sha len(keys) *keys *arguments`."""

    script: LuaScript
    keys: Sequence[str]
    arguments: Sequence[Word]


def together(steps: Sequence[Step]) -> Call:
    """Return all steps as one script, which answers what the last of them does.

    When a step fails, none after it is carried out; those before it have been. A server that is
    out of memory refuses the first write of a script that needs some, and none after another write
    (redis.io, "maxmemory"): so steps whose first write needs memory go first.
    """
    texts = tuple(dict.fromkeys(step.text for step in steps))
    numbers = {text: number for number, text in enumerate(texts, 1)}
    plan = [(numbers[step.text], len(step.keys), len(step.arguments)) for step in steps]
    keys = [key for step in steps for key in step.keys]
    return Call(
        _joined(texts),
        keys,
        [_pack(plan), *(argument for step in steps for argument in step.arguments)],
    )


@lru_cache(maxsize=256)
def _joined(texts: tuple[str, ...]) -> LuaScript:
    functions = "\n".join(
        f"steps[{n}] = function(KEYS, ARGV)\n{t}\nend" for n, t in enumerate(texts, 1)
    )
    return LuaScript(f"""local steps = {{}}
{functions}
local plan, all_keys, all_arguments = cmsgpack.unpack(ARGV[1]), KEYS, ARGV
local key, argument, answer = 0, 1, nil
for _, part in ipairs(plan) do
  local keys, arguments = {{}}, {{}}
  for i = 1, part[2] do keys[i] = all_keys[key + i] end
  for i = 1, part[3] do arguments[i] = all_arguments[argument + i] end
  key, argument = key + part[2], argument + part[3]
  answer = steps[part[1]](keys, arguments)
end
return answer""")


def packed(*values: object) -> bytes:
    """Return values for `cmsgpack.unpack`. Note: Redis's knows no `bin`: all text is given as
    `str`."""
    return _pack(values)
