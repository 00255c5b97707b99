"""Server-sent events read from bytes as the WHATWG says (HTML 9.2.5 and 9.2.6), however they are
cut.

An own reader and not `httpx-sse`, which (0.4.3, of October 2025) hands over events without data and
what a torn stream left behind, and one event at a time: here all that came together is one batch.
"""

import re
from dataclasses import dataclass
from typing import Final

MESSAGE: Final = "message"
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

# An event of the feed has about 1 kB; whoever sends a line without end is no notifier.
MOST_HELD_BYTES: Final = 4 * 1024 * 1024

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_MILLISECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


class EventTooLargeError(Exception):
    """What comes is no event of a feed."""


@dataclass(frozen=True, slots=True)
class ServerSent:
    """An event: its kind, its data, and the last id that the stream has named."""

    kind: str
    data: str
    last_id: str


class EventReader:
    """Takes the bytes of one stream as they come. What a stream that ends leaves unfinished is no
    event; a resumed stream has a reader of its own."""

    def __init__(self) -> None:
        self.last_id = ""
        self.retry_ms: int | None = None
        self._rest = b""
        self._at_start = True
        self._after_return = False
        self._kind = ""
        self._data: list[str] = []
        self._named_id = ""

    def read(self, chunk: bytes) -> list[ServerSent]:
        """The events that are whole with these bytes. Raises EventTooLargeError."""
        if not chunk:
            return []
        # A carriage return ended its line already; the line feed after it belongs to it.
        if self._after_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_return = chunk.endswith(b"\r")
        *lines, self._rest = _LINE_END.split(self._rest + chunk)
        events = [event for line in lines if (event := self._line(line)) is not None]
        if len(self._rest) + sum(map(len, self._data)) > MOST_HELD_BYTES:
            raise EventTooLargeError(f"an event of more than {MOST_HELD_BYTES:,} bytes")
        return events

    def _line(self, line: bytes) -> ServerSent | None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(BYTE_ORDER_MARK)
        if not line:
            return self._dispatched()
        name, _, value = line.decode("utf-8", "replace").partition(":")
        self._field(name, value.removeprefix(" "))
        return None

    def _field(self, name: str, value: str) -> None:
        match name:
            case "event":
                self._kind = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._named_id = value
            case "retry" if _MILLISECONDS.fullmatch(value):
                self.retry_ms = int(value)

    def _dispatched(self) -> ServerSent | None:
        self.last_id = self._named_id
        kind, data = self._kind or MESSAGE, self._data
        self._kind, self._data = "", []
        return ServerSent(kind, "\n".join(data), self.last_id) if data else None
