"""A receiver of cacah's webhooks, in Python alone.

    python webhook_receiver.py 8080 whsec_… changes.sqlite

verifies each request, keeps each change once, and answers only when it is kept.
"""

import base64
import binascii
import hashlib
import hmac
import json
import sqlite3
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer

TOLERANCE_S = 300
MOST_BYTES = 64 * 1024


def verified(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether one of the signatures is by our secret, and the request is of these minutes."""
    event_id, moment = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not moment.isdigit() or abs(time.time() - int(moment)) > TOLERANCE_S:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{event_id}.{moment}.".encode() + body
    expected = hmac.new(key, signed, hashlib.sha256).digest()
    return any(
        version == "v1" and hmac.compare_digest(expected, decoded(signature))
        for version, _, signature in (
            part.partition(",") for part in headers.get("webhook-signature", "").split(" ")
        )
    )


def decoded(signature: str) -> bytes:
    try:
        return base64.b64decode(signature)
    except binascii.Error:
        return b""


def keep(database: sqlite3.Connection, change: dict) -> None:
    """Keep a change once; what comes again is the same row."""
    with database:
        database.execute(
            "INSERT INTO changes VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (
                change["election"],
                change["sequence"],
                change["village"],
                json.dumps(change["after"]),
            ),
        )


def opened(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    database.execute(
        "CREATE TABLE IF NOT EXISTS changes (election TEXT, sequence INTEGER, village TEXT,"
        " after TEXT, PRIMARY KEY (election, sequence))"
    )
    return database


class Receiver(HTTPServer):
    # Up to 72 requests come at once, and more connections than that may wait.
    request_queue_size = 128


def receiver(port: int, secret: str, database: sqlite3.Connection) -> Receiver:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            if length > MOST_BYTES:
                self.answer(413)
                return
            body = self.rfile.read(length)
            if not verified(secret, self.headers, body):
                self.answer(401)
                return
            event = json.loads(body)
            if event["type"] == "voter.change":
                keep(database, event["data"])
            self.answer(204)

        def answer(self, status: int) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Receiver(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    receiver(int(sys.argv[1]), sys.argv[2], opened(sys.argv[3])).serve_forever()
