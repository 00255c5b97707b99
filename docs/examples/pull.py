"""Asks for what has changed since the last time, keeps it, and ends: for a timer, such as cron.

    CACAH_TOKEN=… python pull.py http://notifier:8003 pilkada-2024 changes.sqlite

Each change is kept exactly once: a page and how far it goes are one transaction.
"""

import json
import os
import sqlite3
import sys
from contextlib import closing

import httpx

PAGE = 1_000


def opened(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    database.execute(
        "CREATE TABLE IF NOT EXISTS changes"
        " (sequence INTEGER PRIMARY KEY, village TEXT, before TEXT, after TEXT)"
    )
    return database


def last_kept(database: sqlite3.Connection) -> int:
    return database.execute("SELECT coalesce(max(sequence), 0) FROM changes").fetchone()[0]


def keep(database: sqlite3.Connection, changes: list[dict]) -> None:
    with database:
        for change in changes:
            if change["sequence"] != last_kept(database) + 1:
                raise SystemExit(f"a gap before change {change['sequence']}: ask the office")
            counts = json.dumps(change["before"]), json.dumps(change["after"])
            database.execute(
                "INSERT INTO changes VALUES (?, ?, ?, ?)",
                (change["sequence"], change["village"], *counts),
            )


def pull(client: httpx.Client, election: str, database: sqlite3.Connection) -> None:
    while True:
        asked = {"after": last_kept(database), "limit": PAGE}
        answer = client.get(f"/v1/elections/{election}/changes", params=asked)
        answer.raise_for_status()
        page = answer.json()
        keep(database, page["changes"])
        if last_kept(database) >= page["last"]:
            return


if __name__ == "__main__":
    notifier, election, path = sys.argv[1:]
    token = {"Authorization": f"Bearer {os.environ['CACAH_TOKEN']}"}
    with httpx.Client(base_url=notifier, headers=token) as client, closing(opened(path)) as kept:
        pull(client, election, kept)
