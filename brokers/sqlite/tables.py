"""How queues lie in an SQLite file: its tables, and each statement on them."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Iterable

SCHEMA = """
CREATE TABLE IF NOT EXISTS fb_queues(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS fb_owners(
    id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, consumer TEXT NOT NULL, lease REAL NOT NULL,
    beat REAL NOT NULL);
CREATE INDEX IF NOT EXISTS fb_owners_of ON fb_owners(queue);
CREATE TABLE IF NOT EXISTS fb_messages(
    id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, priority INTEGER NOT NULL, due REAL,
    owner INTEGER, lost INTEGER NOT NULL DEFAULT 0, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS fb_ids(
    number INTEGER PRIMARY KEY, queue TEXT NOT NULL, id TEXT NOT NULL, until REAL NOT NULL,
    UNIQUE (queue, id));
CREATE INDEX IF NOT EXISTS fb_ready ON fb_messages(queue, priority DESC)
    WHERE owner IS NULL AND due IS NULL;
CREATE INDEX IF NOT EXISTS fb_waiting ON fb_messages(queue, due) WHERE due IS NOT NULL;
CREATE INDEX IF NOT EXISTS fb_held ON fb_messages(owner) WHERE owner IS NOT NULL;
CREATE TABLE IF NOT EXISTS fb_counts(
    queue INTEGER PRIMARY KEY, ready INTEGER NOT NULL, waiting INTEGER NOT NULL);
"""
"""A message is ready (no `owner`, no `due`), waiting (`due`, Unix time) or held (`owner`). `id` is
the order of arrival: a message that comes back keeps it, and so is ahead of all that came later.
`lost` counts the consumers that died with it. An owner is one lease of one consumer; its id is
random and never used again, so what it held can be told from what another holds now. Whoever
removes an owner gives back, in the same transaction, all that it held: so what an owner claimed is
its own as long as its row is there, and all of it is somebody else's once the row is gone. `beat`
is `time.monotonic()`, which all processes of a host share and no clock adjustment moves. `consumer`
is what one inbox is called under all its leases.

`fb_ids` has the ids that messages were published with, and until when (Unix time) each is
remembered; `number` rises with that time. By the name of the queue: its number may be given to
another once the queue is forgotten.

`fb_counts` says how many of a queue are ready and waiting, since counting 5,000,000 takes SQLite a
second: whoever changes that, changes it there in the same transaction (see `counted`). A queue of
an older fbcli has no row yet, and counts that such a one has left astray are set right when the
queue is next found empty."""

READY = "queue = :queue AND owner IS NULL AND due IS NULL"
FIND_QUEUE = "SELECT id FROM fb_queues WHERE name = ?"
ADD_QUEUE = "INSERT INTO fb_queues(name) VALUES (?)"
_HAS_READY = "SELECT 1 FROM fb_messages WHERE queue = q.id AND owner IS NULL AND due IS NULL"
_HAS_WAITING = "SELECT 1 FROM fb_messages WHERE queue = q.id AND due IS NOT NULL"
UNUSED = f"""SELECT id FROM
    (SELECT id FROM fb_queues WHERE id >= ? AND id <> ? ORDER BY id LIMIT 20) q
    WHERE NOT EXISTS ({_HAS_READY}) AND NOT EXISTS ({_HAS_WAITING})
    AND NOT EXISTS (SELECT 1 FROM fb_owners WHERE queue = q.id)"""  # noqa: S608 - made of constants
FORGET_QUEUES = "DELETE FROM fb_queues WHERE id IN (SELECT value FROM json_each(?))"
FORGET_COUNTS = "DELETE FROM fb_counts WHERE queue IN (SELECT value FROM json_each(?))"
LAST = "SELECT max(id) FROM fb_messages"
PUBLISH = "INSERT INTO fb_messages(id, queue, priority, due, body) VALUES (?, ?, ?, ?, ?)"
REMEMBER = """INSERT INTO fb_ids(queue, id, until) VALUES (:queue, :id, :until)
    ON CONFLICT (queue, id) DO UPDATE SET until = excluded.until WHERE until <= :now"""
"""Changes nothing when the id is remembered."""
FORGET_IDS = """DELETE FROM fb_ids WHERE number IN (SELECT number FROM
    (SELECT number, until FROM fb_ids ORDER BY number LIMIT :n) WHERE until <= :now)"""
LOOK = f"""SELECT
    EXISTS ({_HAS_READY}),
    (SELECT min(due) FROM fb_messages WHERE queue = q.id AND due IS NOT NULL),
    (SELECT ready FROM fb_counts WHERE queue = q.id),
    (SELECT waiting FROM fb_counts WHERE queue = q.id)
    FROM fb_queues q WHERE name = ?"""  # noqa: S608 - made of constants
"""Whether anything is ready, when the next that waits is due, and how many of each are counted."""
LOOK_FOR = f"""SELECT name, EXISTS ({_HAS_READY}),
    (SELECT min(due) FROM fb_messages WHERE queue = q.id AND due IS NOT NULL)
    FROM fb_queues q WHERE name IN (SELECT value FROM json_each(?))"""  # noqa: S608 - made of constants
RIPEN_AT_ONCE = 1000
RIPEN = f"""UPDATE fb_messages SET due = NULL WHERE id IN (SELECT id FROM fb_messages
    WHERE queue = :queue AND due <= :now ORDER BY due LIMIT {RIPEN_AT_ONCE})"""  # noqa: S608 - made of constants
COUNT = "UPDATE fb_counts SET ready = ready + ?, waiting = waiting + ? WHERE queue = ?"
COUNT_NONE_READY = "UPDATE fb_counts SET ready = 0, waiting = waiting + ? WHERE queue = ?"
_COUNT_READY = f"SELECT count(*) FROM fb_messages WHERE {READY}"  # noqa: S608 - made of constants
_COUNT_WAITING = "SELECT count(*) FROM fb_messages WHERE queue = :queue AND due IS NOT NULL"
COUNT_ANEW = (
    f"INSERT OR REPLACE INTO fb_counts VALUES (:queue, ({_COUNT_READY}), ({_COUNT_WAITING}))"  # noqa: S608 - made of constants
)
FIRST = "ORDER BY priority DESC, id LIMIT :n"
SELECT_READY = f"SELECT id, priority, lost, body FROM fb_messages WHERE {READY} {FIRST}"  # noqa: S608 - made of constants
CLAIM = "UPDATE fb_messages SET owner = ? WHERE id IN (SELECT value FROM json_each(?))"
ACK = "DELETE FROM fb_messages WHERE id IN (SELECT value FROM json_each(?)) AND +owner = ?"
RELEASE = (
    "UPDATE fb_messages SET owner = NULL, due = ?, body = coalesce(?, body) WHERE id = ? AND"
    " +owner = ?"
)
TO_THE_BACK = "UPDATE fb_messages SET id = ? WHERE id = ? AND +owner = ?"
BURY = """INSERT INTO fb_messages(id, queue, priority, body)
    SELECT ?, ?, priority, coalesce(?, body) FROM fb_messages WHERE id = ? AND +owner = ?"""
IS_REGISTERED = "SELECT 1 FROM fb_owners WHERE id = ?"
REGISTER = "INSERT INTO fb_owners(id, queue, consumer, lease, beat) VALUES (?, ?, ?, ?, ?)"
FORGET_IDLE_DEAD = """DELETE FROM fb_owners WHERE (beat + lease < :now OR beat > :now + 1)
    AND NOT EXISTS (SELECT 1 FROM fb_messages WHERE owner = fb_owners.id)"""
"""Of all queues: those that nobody consumes any more have nobody else to tidy up."""
BEAT = "UPDATE fb_owners SET beat = ? WHERE id = ?"
BEAT_FOR = "UPDATE fb_owners SET beat = ? WHERE consumer IN (SELECT value FROM json_each(?))"
FIND_DEAD = (
    "SELECT id FROM fb_owners WHERE queue = :queue AND (beat + lease < :now OR beat > :now + 1)"
)
"""Note: a beat from the future was left by a process from before the host was restarted. That holds
only while each beat is read off the clock within the transaction that writes it: one read before
waiting for the lock would be older than the beats that others have written meanwhile, and take
their leases."""
FORGET = "DELETE FROM fb_owners WHERE id IN (SELECT value FROM json_each(?))"
RECLAIM = (
    "UPDATE fb_messages SET owner = NULL, lost = lost + 1 WHERE owner IN (SELECT value FROM"
    " json_each(?))"
)
GIVE_BACK = "UPDATE fb_messages SET owner = NULL WHERE owner = ?"
SIZE = """SELECT
    coalesce((SELECT ready FROM fb_counts WHERE queue = q.id), (SELECT count(*) FROM fb_messages
        WHERE queue = q.id AND owner IS NULL AND due IS NULL)),
    (SELECT count(*) FROM fb_messages WHERE owner IN (SELECT id FROM fb_owners WHERE queue = q.id)),
    coalesce((SELECT waiting FROM fb_counts WHERE queue = q.id),
        (SELECT count(*) FROM fb_messages WHERE queue = q.id AND due IS NOT NULL)),
    (SELECT count(*) FROM fb_messages WHERE queue = q.id AND due <= :now)
    FROM fb_queues q WHERE name = :name"""
"""How many are ready, held, waiting, and of the waiting those that are due by now."""
QUEUES = f"""SELECT name FROM fb_queues q WHERE EXISTS ({_HAS_READY}) OR EXISTS ({_HAS_WAITING})
    OR EXISTS (SELECT 1 FROM fb_messages
        WHERE owner IN (SELECT id FROM fb_owners WHERE queue = q.id))"""  # noqa: S608 - made of constants
PEEK = f"""SELECT body FROM (
    SELECT * FROM (SELECT priority, id, body FROM fb_messages WHERE {READY} {FIRST})
    UNION ALL SELECT * FROM (SELECT priority, id, body FROM fb_messages
        WHERE queue = :queue AND due <= :now ORDER BY due LIMIT max(:n, {RIPEN_AT_ONCE})))
    {FIRST}"""  # noqa: S608 - made of constants
"""Of those that are due, the ones that the next claim would look at."""
BROWSED_AT_ONCE = 500
BROWSE_READY = f"""SELECT id, body FROM fb_messages
    WHERE queue = (SELECT id FROM fb_queues WHERE name = :name) AND owner IS NULL AND due IS NULL
    AND priority = :priority AND id > :id ORDER BY id LIMIT {BROWSED_AT_ONCE}"""  # noqa: S608 - made of constants
BROWSE_DUE = f"""SELECT id, body, due FROM fb_messages
    WHERE queue = (SELECT id FROM fb_queues WHERE name = :name) AND due <= :now
    AND (due, id) > (:due, :id) ORDER BY due, id LIMIT {BROWSED_AT_ONCE}"""  # noqa: S608 - made of constants
PURGE_AT_ONCE = 2000
PURGE_READY, PURGE_WAITING = (
    f"""DELETE FROM fb_messages WHERE id IN
    (SELECT id FROM fb_messages WHERE {which} AND id <= :last LIMIT {PURGE_AT_ONCE})"""  # noqa: S608 - made of constants
    for which in (READY, "queue = :queue AND due IS NOT NULL")
)
"""In steps, each using the index of what it removes, so that nobody is kept out for long."""
DELAYED = (
    "SELECT due, body, id FROM fb_messages WHERE queue = ? AND due > ? ORDER BY due, id LIMIT ?"
)
UNDELAY = (
    "DELETE FROM fb_messages WHERE queue = ? AND due IS NOT NULL AND id IN (SELECT value FROM"
    " json_each(?))"
)


def find_number(connection: sqlite3.Connection, queue: str) -> int:
    """Return the number of a queue; 0 when it has none."""
    row = connection.execute(FIND_QUEUE, (queue,)).fetchone()
    return row[0] if row else 0


def number_of(connection: sqlite3.Connection, queue: str) -> int:
    """Return the number of a queue, which gets one when it has none. Within a write transaction."""
    number = find_number(connection, queue)
    if not number:
        number = connection.execute(ADD_QUEUE, (queue,)).lastrowid or 0
        forget_some(connection, number)
    return number


def forget_some(connection: sqlite3.Connection, added: int) -> None:
    """Forget queues that nobody uses, a few for each that is added: so there are never many more
    than are in use, whatever names their publishers make up."""
    start = random.randint(0, added)
    unused = ids(row[0] for row in connection.execute(UNUSED, (start, added)))
    connection.execute(FORGET_QUEUES, (unused,))
    connection.execute(FORGET_COUNTS, (unused,))


def counted(
    connection: sqlite3.Connection, queue: int, ready: int | None = 0, waiting: int = 0
) -> None:
    """Note that a queue has so many more (or fewer) ready and waiting messages; `ready` None: that
    none is ready now. Within the write transaction that has changed it."""
    if ready is None:
        changed = connection.execute(COUNT_NONE_READY, (waiting, queue)).rowcount
    else:
        changed = connection.execute(COUNT, (ready, waiting, queue)).rowcount
    if not changed:
        connection.execute(COUNT_ANEW, {"queue": queue})


def later(not_before: float | None, now: float) -> float | None:
    return not_before if not_before is not None and not_before > now else None


def next_id(connection: sqlite3.Connection) -> int:
    """Return the first of the ids to give to messages that arrive now. Within a write transaction.

    Microseconds of Unix time, unless the clock went back or many came at once. So an id is not used
    again when its message is gone, as SQLite's own would be: whoever still has it, to cancel a
    delayed message, must not hit another one.
    """
    (last,) = connection.execute(LAST).fetchone()
    return max(time.time_ns() // 1000, (last or 0) + 1)


def is_registered(connection: sqlite3.Connection, owner: int) -> bool:
    return connection.execute(IS_REGISTERED, (owner,)).fetchone() is not None


def new_owner() -> int:
    """Return a number that no owner ever had."""
    return int.from_bytes(os.urandom(8), "big") >> 1


def ids(numbers: Iterable[int]) -> str:
    return f"[{','.join(map(str, numbers))}]"
