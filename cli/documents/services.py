"""The OpenAPI document of each service; no server is needed for it."""

import base64
from typing import Any, Final

from fastapi import FastAPI
from pydantic import SecretStr

from services.notifier.app import create_app as create_notifier
from services.notifier.settings import NotifierSettings
from services.projections.app import create_app as create_projections
from services.projections.settings import ProjectionsSettings
from services.registry.app import create_app as create_registry
from services.registry.settings import RegistrySettings
from shared.openapi import document_of

_NOWHERE: Final = "postgresql+asyncpg://nobody@127.0.0.1:1/none"
_NO_BROKER: Final = "127.0.0.1:1"

# Without a key the notifier would have no webhooks.
_A_KEY: Final = SecretStr(base64.b64encode(bytes(32)).decode())


def applications() -> dict[str, FastAPI]:
    """Every service by name, not started."""
    registry = RegistrySettings(database_url=_NOWHERE, kafka_bootstrap=_NO_BROKER, vault_key=_A_KEY)
    projections = ProjectionsSettings(database_url=_NOWHERE, kafka_bootstrap=_NO_BROKER)
    notifier = NotifierSettings(
        database_url=_NOWHERE, kafka_bootstrap=_NO_BROKER, webhook_key=_A_KEY
    )
    return {
        "registry": create_registry(registry),
        "projections": create_projections(projections),
        "notifier": create_notifier(notifier),
    }


def openapi_documents() -> dict[str, dict[str, Any]]:
    """The document of each service by its name. Raises UndocumentedRouteError."""
    return {name: document_of(app) for name, app in applications().items()}
