"""funboost: its acknowledging Redis broker, 16 threads, no limit of rate.

It reads its settings from a file in `sys.path[1]`, and writes others there: run it where that is a
folder of its own.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.peers import side, tally

_url = urlsplit(os.environ.get("BENCH_URL", "redis://127.0.0.1:6379/0"))
Path(sys.path[1], "funboost_config.py").write_text(
    "from funboost.utils.simple_data_class import DataClassBase\n"
    "class BrokerConnConfig(DataClassBase):\n"
    f"    REDIS_HOST, REDIS_PORT, REDIS_DB = {_url.hostname!r}, {_url.port}, 0\n"
    f"    REDIS_URL = {_url.geturl()!r}\n"
    "class FunboostCommonConfig(DataClassBase): ...\n"
)
from funboost import BoosterParams, BrokerEnum, boost  # noqa: E402  reads that file

add = boost(
    BoosterParams(
        queue_name="bench",
        broker_kind=BrokerEnum.REDIS_ACK_ABLE,
        qps=0,
        concurrent_num=16,
        log_level=40,
    )
)(tally.add)


def push(url: str, count: int) -> None:
    for number in range(count):
        add.push(number, y=2)


def consume(url: str) -> None:
    add.consume()
    time.sleep(3600)


if __name__ == "__main__":
    side.play(push, consume)
