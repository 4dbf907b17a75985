"""The Python API in one process: boost a function, push many calls, consume them, wait for a
result.

python orders.py            # prints a summary as JSON
"""

import json
import threading
from collections import Counter

from fbcli import DeadLetter, boost

booked: Counter[str] = Counter()
lock = threading.Lock()


@boost(broker="memory://", concurrency=8, retries=2)
def book(customer: str, cents: int) -> int:
    """Book an order; return the customer's total."""
    if cents < 0:
        raise DeadLetter(
            "a negative amount needs a person"
        )  # tried no more: `fb dead` shows it, with this reason
    with lock:
        booked[customer] += cents
        return booked[customer]


def main() -> dict[str, object]:
    consumer = (
        book.consume()
    )  # in threads of this process; for processes of their own there is `fb consume`
    book.push("ada", 250)  # checked against the signature, here and now
    book.push_many({"customer": name, "cents": 100} for name in ("ada", "bob") for _ in range(500))
    refused = book.publish({"customer": "eve", "cents": -1}, priority=9, result=True)
    last = book.publish({"customer": "zoe", "cents": 5}, result=True)

    zoe = last.result(timeout=30)
    eve = refused.wait(timeout=30)
    consumer.stop()  # finishes what runs
    consumer.join()
    return {
        "booked": dict(sorted(booked.items())),
        "zoe": zoe,
        "eve": f"{eve.state}: {eve.error}",
        "left": book.count(),
    }


if __name__ == "__main__":
    print(json.dumps(main()))
