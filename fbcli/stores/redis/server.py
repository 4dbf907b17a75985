"""How the facets of the Redis store reach the server: one script a round trip, or several."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from fbcli.clients.loading import load_library
from fbcli.clients.lua import Call, LuaScript, Word
from fbcli.clients.redis import connect, translating

# Note: Lua itself writes 14 digits of a number, redis.call 17. Times are left to redis.call, or
# formatted.
NOW = """
local t = redis.call('TIME')
local now = t[1] + t[2] / 1e6
"""

# Lua's stack holds 8,000 values: one command of a script has at most as many.
IN_PARTS = """
local function in_parts(values, most, use)
  for start = 1, #values, most do
    use(unpack(values, start, math.min(start + most - 1, #values)))
  end
end
"""

AT_ONCE = 4000
"""How many values one command of a script is given: `unpack` at half of what Lua can."""


class RedisServer:
    """A server, its sentinels, or a cluster. Thread-safe."""

    def __init__(self, url: str) -> None:
        self.is_cluster = url.startswith("redis+cluster://")
        self._url = url
        self._translating = translating(url)
        self._connecting = threading.Lock()
        self._connected: Any = None

    def ask(self, question: Callable[[Any], Any]) -> Any:
        """Return what `question` returns, which is given the client; errors in plain words."""
        with self._translating:
            return question(self._client())

    def run(self, script: LuaScript, keys: Sequence[str], arguments: Sequence[Word] = ()) -> Any:
        """Run a script, loading it when the server does not know it."""
        with self._translating:
            client = self._client()
            try:
                return client.execute_command("EVALSHA", script.sha, len(keys), *keys, *arguments)
            except load_library("redis.exceptions", extra="redis").NoScriptError:
                return client.execute_command("EVAL", script.text, len(keys), *keys, *arguments)

    def run_all(self, calls: Sequence[Call]) -> list[Any]:
        """Run scripts in one round trip, and (but in a cluster) in one transaction; return their
        answers.

        Note: EVAL and not EVALSHA, since a pipeline has no good moment to learn that a server does
        not know one.
        """
        if len(calls) == 1:
            return [self.run(*calls[0])]
        with (
            self._translating,
            self._client().pipeline(transaction=not self.is_cluster) as pipeline,
        ):
            for script, keys, arguments in calls:  # .eval: not in a cluster
                pipeline.execute_command("EVAL", script.text, len(keys), *keys, *arguments)
            answers: list[Any] = pipeline.execute()
            return answers

    def close(self) -> None:
        with self._connecting:
            if self._connected is not None:
                self._connected.close()
                self._connected = None

    def _client(self) -> Any:
        """Connect at first use. The caller translates errors."""
        with self._connecting:
            if self._connected is None:
                self._connected = connect(self._url)
            return self._connected
