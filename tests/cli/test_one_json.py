"""One way to JSON: the same values through arguments and back, as results, in events, by `fb run`
and `fb call`, from threads and from child processes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.conftest import Shell

VALUES = '''\
import collections, dataclasses, datetime, decimal, enum, fractions, pathlib, uuid
from pydantic import BaseModel

class Color(enum.Enum):
    RED = "red"

@dataclasses.dataclass
class Point:
    x: object

class Model(BaseModel):
    day: datetime.date
    point: Point | None = None

class Odd:
    def __repr__(self): return "<odd>"

class Silent:
    def __repr__(self): raise SystemExit("no")

DAY = datetime.date(2024, 1, 2)

def travelling():
    """What has a JSON form."""
    return {
        "none": None, "number": 2**60, "text": "ü", "tuple": (1, 2), "set": {7}, "bytes": b"a",
        "day": DAY, "span": datetime.timedelta(seconds=90), "decimal": decimal.Decimal("1.50"),
        "uuid": uuid.UUID(int=1), "color": Color.RED, "path": pathlib.Path("a/b"),
        "point": Point({"deep": [Color.RED]}), "model": Model(day=DAY, point=Point(1)),
        "deque": collections.deque([1]), "keys": {1: {Color.RED: None}},
    }

def told():
    """What has none."""
    return {
        "odd": Odd(), "list": [Odd(), 1], "point": Point(Odd()), "silent": Silent(),
        "fraction": fractions.Fraction(1, 3), "nan": float("nan"), "half": "\\ud800",
        "keys": {(1, 2): [float("inf")]},
    }

def echo(value):
    return value

def push():
    from fbcli import boost
    boost(echo).push(travelling())
'''

TRAVELLING = {
    "none": None,
    "number": 2**60,
    "text": "ü",
    "tuple": [1, 2],
    "set": [7],
    "bytes": "YQ==",
    "day": "2024-01-02",
    "span": "PT90S",
    "decimal": "1.50",
    "uuid": "00000000-0000-0000-0000-000000000001",
    "color": "red",
    "path": "a/b",
    "point": {"x": {"deep": ["red"]}},
    "model": {"day": "2024-01-02", "point": {"x": 1}},
    "deque": [1],
    "keys": {"1": {"red": None}},
}
TOLD = {
    "odd": "<odd>",
    "list": ["<odd>", 1],
    "point": {"x": "<odd>"},
    "silent": "<Silent that cannot be shown>",
    "fraction": "Fraction(1, 3)",
    "nan": "nan",
    "half": "\\ud800",
    "keys": {"[1,2]": ["inf"]},
}


@pytest.mark.parametrize("mode", ["threads", "process"])
def test_a_value_looks_the_same_on_every_way(fb: Shell, mode: str) -> None:
    fb.write("shapes.py", VALUES)
    assert fb.ok("run", "shapes:travelling", "--json").json == TRAVELLING
    assert fb.ok("run", "shapes:told").json == TOLD
    assert fb.ok("run", "shapes:push").out == ""
    functions = ("shapes:travelling", "shapes:told", "shapes:echo")
    for function in functions[:2]:
        fb.ok("push", function)
    ran = fb.ok("consume", *functions, "--mode", mode, "--results", "--burst", "--json")
    events: dict[str, Any] = {
        event["queue"]: event["value"] for event in ran.objects if event["event"] == "succeeded"
    }
    expected = {
        "shapes.travelling": TRAVELLING,
        "shapes.told": TOLD,
        "shapes.echo": TRAVELLING,
    }
    assert events == expected
    results = fb.ok("results", "--json").objects
    assert {result["queue"]: result["value"] for result in results} == expected


def test_a_call_prints_what_was_returned_elsewhere(fb: Shell) -> None:
    fb.write("shapes.py", VALUES)
    fb.start("consume", "shapes:travelling", "shapes:told")
    assert fb.ok("call", "shapes:travelling", "--wait", "20").json == TRAVELLING
    assert fb.ok("call", "shapes:told", "--json", "--wait", "20").json == TOLD
