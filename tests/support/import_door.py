"""A registry's door for the importer: the real rules in memory, behind an HTTP that fails."""

import gzip
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import orjson

from services.registry.domain.deciding import Answer
from tests.support.pure_registry import PureRegistry

TOKEN: Final = "token-of-a-test"

# What may become of one request. `LOST` is decided, and its answer never arrives.
LOST: Final = "lost"
CUT_OFF: Final = "cut off"
BUSY: Final = 429
AWAY: Final = 503
FORBIDDEN: Final = "forbidden"


class ImportDoor:
    """`moods` are taken one a request, oldest first; without one, the answer is as it should be."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.moods: deque[str | int] = deque()
        self.batches: list[list[dict[str, Any]]] = []
        self.registry = PureRegistry()
        self.on_answer: Callable[[], object] = lambda: None
        self._one_at_a_time = threading.Lock()

    @property
    def log(self) -> list[Any]:
        return self.registry.log

    def answer(self, body: bytes) -> tuple[int, dict[str, Any], str | int | None]:
        events = orjson.loads(gzip.decompress(body))
        with self._one_at_a_time:
            mood = self.moods.popleft() if self.moods else None
            if isinstance(mood, int):
                return mood, {"detail": "later"}, mood
            if mood == FORBIDDEN:
                problem = {"type": "https://cacah.example/problems/forbidden", "detail": "no"}
                results = [{"outcome": "rejected", "problem": problem} for _ in events]
                return 200, {"results": results}, mood
            self.batches.append(events)
            answers = self.registry.submit(events, datetime.now(UTC))
            self.on_answer()
            return 200, {"results": [_result(answer) for answer in answers]}, mood


def _result(answer: Answer) -> dict[str, Any]:
    told: dict[str, Any] = {"source": answer.source, "id": answer.id, "outcome": answer.outcome}
    if answer.first is not None:
        told["first_outcome"] = answer.first
    if answer.warnings:
        told["warnings"] = answer.warnings
    if answer.problem is not None:
        told["problem"] = answer.problem.body()
    return told


class _Server(ThreadingHTTPServer):
    """A server to which a client may break off without a word on the test's terminal."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def import_door() -> Iterator[ImportDoor]:
    """A door that is open, on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(200, b"{}")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                self._send(401, b"{}")
                return
            status, told, mood = door.answer(body)
            if mood == LOST:
                self.close_connection = True
                return
            written = orjson.dumps(told)
            self._send(status, written[: len(written) // 2] if mood == CUT_OFF else written)

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status == BUSY:
                self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with _Server(("127.0.0.1", 0), Handler) as server:
        door = ImportDoor(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield door
        finally:
            server.shutdown()
