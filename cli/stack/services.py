"""The three services and the migrations as children, and the environment they read."""

import os
import sys
from collections.abc import Mapping

from cli.stack.parts import Part
from cli.stack.settings import CHECKOUT, StackSettings

MIGRATIONS = (sys.executable, "-m", "migrations")
PORT_FIELDS = {
    "registry": "registry_port",
    "projections": "projections_port",
    "notifier": "notifier_port",
}
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
# A service answers what it holds, commits its work and leaves its consumer group.
STOP_TIMEOUT_S = 20.0


def urls(settings: StackSettings) -> dict[str, str]:
    """Where each service answers, as a program on this machine reaches it."""
    host = "127.0.0.1" if settings.host in EVERYWHERE else settings.host
    ports = settings.ports()
    return {name: f"http://{host}:{ports[field]}" for name, field in PORT_FIELDS.items()}


def environment(
    settings: StackSettings,
    *,
    database_url: str,
    operator_token: str,
    vault_key: str,
    webhook_key: str,
) -> dict[str, str]:
    """What every service is told; the rest of our own environment is passed on."""
    told = {
        "CACAH_HOME": str(settings.home),
        "CACAH_DATABASE_URL": database_url,
        "CACAH_KAFKA_BOOTSTRAP": f"127.0.0.1:{settings.kafka_port}",
        "CACAH_OPERATOR_TOKEN": operator_token,
        "CACAH_VAULT_KEY": vault_key,
        "CACAH_WEBHOOK_KEY": webhook_key,
        "CACAH_HOST": settings.host,
        "PYTHONUNBUFFERED": "1",
    }
    told |= {f"CACAH_{name.upper()}_URL": url for name, url in urls(settings).items()}
    told |= {
        f"CACAH_{field.upper()}": str(settings.ports()[field]) for field in PORT_FIELDS.values()
    }
    return {**os.environ, **told}


def part(name: str, settings: StackSettings, env: Mapping[str, str]) -> Part:
    """One of the three services as the supervisor knows it."""
    url = urls(settings)[name]
    return Part(
        name=name,
        command=[sys.executable, "-m", f"services.{name}"],
        env=env,
        ready=f"{url}/readyz",
        where=url,
        stop_timeout_s=STOP_TIMEOUT_S,
        cwd=CHECKOUT,
    )
