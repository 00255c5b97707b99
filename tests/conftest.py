"""Fixtures that every integration test may ask for."""

from collections.abc import Iterator

import pytest

from tests.support.parts import Parts, cloned_database, fresh_topics, running_parts


@pytest.fixture(scope="session")
def parts() -> Iterator[Parts]:
    """One PostgreSQL and one Kafka for the whole run."""
    with running_parts() as running:
        yield running


@pytest.fixture
def database(parts: Parts) -> Iterator[str]:
    """The name of a migrated database of the test's own; see `Parts.url` and `Parts.dsn`."""
    with cloned_database(parts) as name:
        yield name


@pytest.fixture
def topics(parts: Parts) -> None:
    """Empty topics."""
    fresh_topics(parts)
