"""What systems call differently at sockets."""

from __future__ import annotations

import socket
import sys

from fbcli.errors import Unsupported


def keepalive_options(*, idle: int, interval: int, count: int) -> dict[int, int]:
    """Return the options of level IPPROTO_TCP that notice a silent peer, those that the system has
    (tcp(7)): after `idle` seconds of silence `count` probes, `interval` seconds apart."""
    wanted = {"TCP_KEEPIDLE": idle, "TCP_KEEPINTVL": interval, "TCP_KEEPCNT": count}
    return {getattr(socket, k): v for k, v in wanted.items() if hasattr(socket, k)}


def connect_unix(path: str, timeout: float) -> socket.socket:
    """Return a connection to the Unix socket at `path`, made within `timeout` seconds, which it has
    as its own from then on. Raises `OSError`, and `Unsupported` where Python knows no such sockets.
    """
    if sys.platform == "win32":
        raise Unsupported(
            f"{path}: Unix sockets do not work on Windows. Connect to a host and port instead."
        )
    else:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(timeout)
            sock.connect(path)
        except BaseException:
            sock.close()
            raise
        return sock
