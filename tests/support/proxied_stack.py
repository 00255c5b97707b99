"""A stack whose services reach PostgreSQL and Kafka through doors that a test can shut or slow.

The doors' ports are chosen before the stack starts, because Kafka tells its clients where to come
back to. The supervisor's own probes, and the test's, go straight to PostgreSQL.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from cli.stack import Stack, services
from cli.stack.parts import Keeper, Part
from cli.stack.ports import choose_free
from tests.support.faults import MORE_PROJECTIONS
from tests.support.proxy import Proxy

HOST: Final = "127.0.0.1"


class ProxiedStack(Stack):
    """All parts, two more projections that may be started beside the first, and the doors."""

    def __init__(self, home: Path, announce: Callable[[str], None]) -> None:
        super().__init__(home, ports="free", announce=announce)
        taken = set(self.settings.ports().values())
        free = [port for port in choose_free(HOST).values() if port not in taken]
        self.doors = {
            "postgres": Proxy(HOST, self.settings.postgres_port, free[0]),
            "kafka": Proxy(HOST, self.settings.kafka_port, free[1]),
        }
        for name, port in zip(MORE_PROJECTIONS, free[2:], strict=False):
            self.add(self._projections(name, port))

    def _projections(self, name: str, port: int) -> Part:
        part = services.part("projections", self.settings, {})
        url = f"http://{HOST}:{port}"
        env = {"CACAH_PROJECTIONS_PORT": str(port)}
        return replace(part, name=name, env=env, ready=f"{url}/readyz", where=url)

    @property
    def environment(self) -> dict[str, str]:
        """What the services are told: the doors in place of the servers."""
        told = super().environment
        straight, door = f":{self.settings.postgres_port}/", f":{self.doors['postgres'].port}/"
        return told | {
            "CACAH_DATABASE_URL": told["CACAH_DATABASE_URL"].replace(straight, door),
            "CACAH_KAFKA_BOOTSTRAP": f"{HOST}:{self.doors['kafka'].port}",
        }

    def _parts(self) -> list[Part]:
        return [self._through_its_door(p) if p.name == "kafka" else p for p in super()._parts()]

    def _through_its_door(self, part: Part) -> Part:
        """Kafka, which tells its clients the door's address."""
        straight = f"advertised.listeners=CLIENTS://{HOST}:{self.settings.kafka_port}"
        door = f"advertised.listeners=CLIENTS://{HOST}:{self.doors['kafka'].port}"

        def prepare(keeper: Keeper) -> None:
            assert part.prepare is not None
            part.prepare(keeper)
            properties = self.home / "kafka" / "server.properties"
            written = properties.read_text()
            assert straight in written, "Kafka's settings name no advertised listener"
            properties.write_text(written.replace(straight, door))

        return replace(part, prepare=prepare)
