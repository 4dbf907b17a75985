"""Pools: callables run side by side, in threads, coroutines or child processes. They know nothing
of messages. `base` is their contract."""
