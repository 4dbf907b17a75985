"""Benchmarks of fbcli: `python -m benchmarks`. Each runs in turn with its floor; ratios are what
counts.

Nothing is switched off to win: delivery is acknowledged, the lease kept; heartbeat, store watch,
retries, dead letters are on.
"""
