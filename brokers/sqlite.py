"""Queues in one SQLite file: no server, and safe for any number of processes of one host.

Publishing is on the disk when it returns (`synchronous=FULL`). Claims and settlements are not waited for: they are in the
write-ahead log, in order, so a crash of the process loses none, and a power failure can only undo the last of them, which
means that those messages run again. It never undoes a publish: the log is a prefix, and a checkpoint syncs it first
(sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from fbcli.broker import (
    Action,
    Broker,
    Capabilities,
    Delayed,
    Delivery,
    Inbox,
    Outgoing,
    Settlement,
    Size,
    dead_queue,
)
from fbcli.sqlite_file import Database, path_of

from .waiting import Alarm

SCHEMA = """
CREATE TABLE IF NOT EXISTS fb_queues(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS fb_owners(
    id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, consumer TEXT NOT NULL, lease REAL NOT NULL, beat REAL NOT NULL);
CREATE TABLE IF NOT EXISTS fb_messages(
    id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, priority INTEGER NOT NULL, due REAL, owner INTEGER,
    lost INTEGER NOT NULL DEFAULT 0, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS fb_ready ON fb_messages(queue, priority DESC) WHERE owner IS NULL AND due IS NULL;
CREATE INDEX IF NOT EXISTS fb_waiting ON fb_messages(queue, due) WHERE due IS NOT NULL;
CREATE INDEX IF NOT EXISTS fb_held ON fb_messages(owner) WHERE owner IS NOT NULL;
"""
"""A message is ready (no `owner`, no `due`), waiting (`due`, Unix time) or held (`owner`). `id` is the order of arrival: a
message that comes back keeps it, and so is ahead of all that came later. `lost` counts the consumers that died with it.
An owner is one lease of one consumer; its id is random and never used again, so what it held can be told from what
another holds now. `beat` is `time.monotonic()`, which all processes of a host share and no clock adjustment moves."""

READY = "queue = :queue AND owner IS NULL AND due IS NULL"
FIND_QUEUE = "SELECT id FROM fb_queues WHERE name = ?"
ADD_QUEUE = "INSERT INTO fb_queues(name) VALUES (?) RETURNING id"
PUBLISH = "INSERT INTO fb_messages(queue, priority, due, body) VALUES (?, ?, ?, ?)"
LOOK = f"""SELECT EXISTS (SELECT 1 FROM fb_messages WHERE queue = q.id AND owner IS NULL AND due IS NULL),
    (SELECT min(due) FROM fb_messages WHERE queue = q.id AND due IS NOT NULL) FROM fb_queues q WHERE name = ?"""
"""Whether anything is ready, and when the next that waits is due."""
RIPEN = """UPDATE fb_messages SET due = NULL WHERE id IN
    (SELECT id FROM fb_messages WHERE queue = :queue AND due <= :now ORDER BY due LIMIT 5000)"""
SELECT_READY = f"SELECT id, priority, lost, body FROM fb_messages WHERE {READY} ORDER BY priority DESC, id LIMIT :limit"
CLAIM = "UPDATE fb_messages SET owner = ? WHERE id IN (SELECT value FROM json_each(?))"
ACK = "DELETE FROM fb_messages WHERE id IN (SELECT value FROM json_each(?)) AND +owner = ? RETURNING id"
RELEASE = "UPDATE fb_messages SET owner = NULL, due = ?, body = coalesce(?, body) WHERE id = ? AND +owner = ?"
BURY = """INSERT INTO fb_messages(queue, priority, body)
    SELECT ?, priority, coalesce(?, body) FROM fb_messages WHERE id = ? AND +owner = ?"""
REGISTER = "INSERT INTO fb_owners(id, queue, consumer, lease, beat) VALUES (?, ?, ?, ?, ?)"
DEAD = "beat + lease < :now OR beat > :now + 1"
"""Note: a beat from the future was left by a process from before the host was restarted."""
SIZE = """SELECT
    (SELECT count(*) FROM fb_messages WHERE queue = q.id AND owner IS NULL AND due IS NULL)
        + (SELECT count(*) FROM fb_messages WHERE queue = q.id AND due <= :now),
    (SELECT count(*) FROM fb_messages WHERE owner IN (SELECT id FROM fb_owners WHERE queue = q.id)),
    (SELECT count(*) FROM fb_messages WHERE queue = q.id AND due > :now) FROM fb_queues q WHERE name = :name"""
QUEUES = """SELECT name FROM fb_queues q WHERE
    EXISTS (SELECT 1 FROM fb_messages WHERE queue = q.id AND owner IS NULL AND due IS NULL)
    OR EXISTS (SELECT 1 FROM fb_messages WHERE queue = q.id AND due IS NOT NULL)
    OR EXISTS (SELECT 1 FROM fb_messages WHERE owner IN (SELECT id FROM fb_owners WHERE queue = q.id))"""
PEEK = f"""SELECT body FROM (
    SELECT * FROM (SELECT priority, id, body FROM fb_messages WHERE {READY} ORDER BY priority DESC, id LIMIT :n)
    UNION ALL SELECT * FROM (SELECT priority, id, body FROM fb_messages WHERE queue = :queue AND due <= :now
        ORDER BY priority DESC, id LIMIT :n)) ORDER BY priority DESC, id LIMIT :n"""
PURGE = """DELETE FROM fb_messages WHERE id IN
    (SELECT id FROM fb_messages WHERE queue = ? AND owner IS NULL AND id <= ? LIMIT 10000)"""

POLL = 0.01
"""Seconds between two looks at the file's version while a consumer idles: 0.3 % of a core, and a push by another process
starts within about 10 ms. Pushes through the same `Broker` object are told at once."""
