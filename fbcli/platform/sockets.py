"""What systems call differently at sockets."""

from __future__ import annotations

import socket


def keepalive_options(*, idle: int, interval: int, count: int) -> dict[int, int]:
    """Return the options of level IPPROTO_TCP that notice a silent peer, those that the system has
    (tcp(7)): after `idle` seconds of silence `count` probes, `interval` seconds apart."""
    wanted = {"TCP_KEEPIDLE": idle, "TCP_KEEPINTVL": interval, "TCP_KEEPCNT": count}
    return {getattr(socket, k): v for k, v in wanted.items() if hasattr(socket, k)}
