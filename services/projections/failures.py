"""The failures that are nobody's fault: a server that is away, two processes that meet."""

from typing import Final

import asyncpg
from aiokafka.errors import KafkaError
from sqlalchemy.exc import SQLAlchemyError

# Whoever catches these tries again and says so in one line; anything else is told with its trace.
FORESEEN: Final = (
    KafkaError,
    OSError,
    SQLAlchemyError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresError,
)

DATABASE_AWAY: Final = (
    OSError,
    SQLAlchemyError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresError,
)


def described(error: BaseException) -> str:
    """An error in one line: its kind and the first line of what it says."""
    said = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
