"""Listens to what changes and keeps it, for as long as it runs; started again it goes on.

    CACAH_TOKEN=… python stream.py http://notifier:8003 pilkada-2024 changes.sqlite

Each change is kept exactly once: how far it has come is the last change that it keeps.
"""

import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import httpx

PAUSE_S = 2
# A comment comes at least every 15 seconds: after a longer silence the connection is dead.
SILENCE_S = 20


def opened(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    database.execute(
        "CREATE TABLE IF NOT EXISTS changes"
        " (sequence INTEGER PRIMARY KEY, village TEXT, before TEXT, after TEXT)"
    )
    return database


def last_kept(database: sqlite3.Connection) -> int:
    return database.execute("SELECT coalesce(max(sequence), 0) FROM changes").fetchone()[0]


def keep(database: sqlite3.Connection, change: dict) -> None:
    if change["sequence"] != last_kept(database) + 1:
        raise SystemExit(f"a gap before change {change['sequence']}: ask the office")
    counts = json.dumps(change["before"]), json.dumps(change["after"])
    with database:
        database.execute(
            "INSERT INTO changes VALUES (?, ?, ?, ?)",
            (change["sequence"], change["village"], *counts),
        )


def changes_in(answer: httpx.Response) -> Iterator[dict]:
    """Events end with an empty line; other kinds than `change`, and comments, are passed over."""
    rest = b""
    for chunk in answer.iter_bytes():
        *events, rest = (rest + chunk).split(b"\n\n")
        for event in events:
            fields = dict(line.split(b": ", 1) for line in event.split(b"\n") if b": " in line)
            if fields.get(b"event") == b"change":
                yield json.loads(fields[b"data"])


def listen(client: httpx.Client, election: str, database: sqlite3.Connection) -> None:
    """Until the connection ends."""
    last = {"Last-Event-ID": str(last_kept(database))}
    with client.stream("GET", f"/v1/elections/{election}/stream", headers=last) as answer:
        if answer.status_code < 500:
            answer.raise_for_status()
            for change in changes_in(answer):
                keep(database, change)


if __name__ == "__main__":
    notifier, election, path = sys.argv[1:]
    token = {"Authorization": f"Bearer {os.environ['CACAH_TOKEN']}"}
    timeout = httpx.Timeout(10, read=SILENCE_S)
    with (
        httpx.Client(base_url=notifier, headers=token, timeout=timeout) as client,
        closing(opened(path)) as kept,
    ):
        while True:
            with suppress(httpx.TransportError):
                listen(client, election, kept)
            time.sleep(PAUSE_S)
