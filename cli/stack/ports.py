"""Finds out which ports are free before anything is started on them."""

import random
import socket

from cli.stack.errors import StackError
from cli.stack.settings import PORT_SETTINGS, StackSettings

# Below Linux's range for outgoing connections: while a killed part is down, a client that
# connects somewhere else must not be given the port that the part needs to come back.
LOWEST_FREE_PORT = 20_000
HIGHEST_FREE_PORT = 32_000
ATTEMPTS = 500


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on the port now; old connections in TIME_WAIT do not count."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def choose_free(host: str) -> dict[str, int]:
    """A free port for each part, all different."""
    chosen: dict[str, int] = {}
    fields = iter(PORT_SETTINGS)
    field = next(fields, None)
    for _ in range(ATTEMPTS):
        if field is None:
            return chosen
        port = random.randint(LOWEST_FREE_PORT, HIGHEST_FREE_PORT)  # noqa: S311 - no secret
        if port not in chosen.values() and is_free(host, port):
            chosen[field] = port
            field = next(fields, None)
    raise StackError(
        f"no free ports between {LOWEST_FREE_PORT} and {HIGHEST_FREE_PORT}; "
        "stop some of the programs that listen there and start again"
    )


def require_free(settings: StackSettings, fields: list[str]) -> None:
    """Refuse to start on a port that is taken, naming the setting that moves it."""
    seen: dict[int, str] = {}
    for field in fields:
        port = settings.ports()[field]
        setting = PORT_SETTINGS[field]
        if port in seen:
            raise StackError(
                f"{seen[port]} and {setting} are both {port}; give one of them another port"
            )
        seen[port] = setting
        host = settings.host if field in SERVICE_PORTS else "127.0.0.1"
        if not is_free(host, port):
            raise StackError(
                f"port {port} is taken by another program; stop that program, "
                f"or set {setting} to a free port"
            )


SERVICE_PORTS = frozenset({"registry_port", "projections_port", "notifier_port"})
