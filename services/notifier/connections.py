"""The notifier's side of a connection: what the system may hold for it, and how it is ended
although its client takes no bytes, or is there no more."""

import asyncio
import socket
import struct
from typing import Final

import uvicorn
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# What the system keeps of what a client has not taken; left to itself it is up to 4 MB each.
SEND_BUFFER_BYTES: Final = 128 * 1024

# A peer that has confirmed nothing of what was sent for this long is gone: its cable was pulled,
# or a firewall forgot it. Heartbeats see to it that there always is something to confirm, and a
# peer that is merely slow confirms.
UNCONFIRMED_S: Final = 30.0
LOOK_S: Final = 10.0

# How long a client that is cut may take to read what was sent before.
CUT_GRACE_S: Final = 10.0

CUT: Final = "cacah.cut"

# In Linux's `struct tcp_info`: the packets on their way, and the milliseconds since the last
# confirmation.
_UNACKED_AT: Final = 24
_LAST_ACK_RECV_AT: Final = 56
_INFO_BYTES: Final = 60


class CuttableProtocol(HttpToolsProtocol):
    """HTTP whose application may end a connection in the middle of its answer, and which ends
    those whose peer is gone: the system alone would take a quarter of an hour."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._looking = self.loop.call_later(LOOK_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._looking.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        if unconfirmed_s(self.transport.get_extra_info("socket")) > UNCONFIRMED_S:
            self.transport.abort()
            return
        self._looking = self.loop.call_later(LOOK_S, self._look)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {CUT: {"cut": self._cut}}

    def _cut(self, last: bytes) -> None:
        """End the answer with these bytes, behind what waits to be taken; what is not taken by
        the end of the grace is thrown away."""
        if self.transport.is_closing():
            return
        self.transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last))
        self.transport.close()
        self.loop.call_later(CUT_GRACE_S, self.transport.abort)


def cut(scope: Scope, last: bytes) -> None:
    """End a request's chunked answer at once, with these bytes at its end."""
    scope["extensions"][CUT]["cut"](last)


def unconfirmed_s(connection: socket.socket) -> float:
    """How long the peer has left unconfirmed what was sent to it; 0 where nothing is on its way.

    Not TCP_USER_TIMEOUT: that also ends a peer which takes its bytes slowly through a small window.
    """
    if not hasattr(socket, "TCP_INFO"):
        return 0.0
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    unacked, last_ack_ms = (
        struct.unpack_from("=I", info, at)[0] for at in (_UNACKED_AT, _LAST_ACK_RECV_AT)
    )
    return last_ack_ms / 1_000 if unacked else 0.0


def listening_socket(config: uvicorn.Config) -> socket.socket:
    """The socket that a server listens on; each connection inherits its buffers."""
    listener = config.bind_socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return listener
