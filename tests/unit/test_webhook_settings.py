"""The settings of webhooks."""

import base64
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from cli.stack import home as stack_home
from services.notifier.settings import NotifierSettings


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("CACAH_DATABASE_URL", "postgresql+asyncpg://localhost/cacah")
    monkeypatch.setenv("CACAH_KAFKA_BOOTSTRAP", "localhost:9092")
    return monkeypatch


def test_networks_are_written_with_commas(environment: pytest.MonkeyPatch) -> None:
    assert NotifierSettings().webhook_allowed_networks == ()
    environment.setenv("CACAH_WEBHOOK_ALLOWED_NETWORKS", "10.0.5.0/24, fd00::/8,")
    expected = (ip_network("10.0.5.0/24"), ip_network("fd00::/8"))
    assert NotifierSettings().webhook_allowed_networks == expected


@pytest.mark.parametrize("written", ["10.0.5.1/24", "office", "10.0.5.0/24;fd00::/8"])
def test_what_is_no_network_is_refused(environment: pytest.MonkeyPatch, written: str) -> None:
    environment.setenv("CACAH_WEBHOOK_ALLOWED_NETWORKS", written)
    with pytest.raises(ValidationError):
        NotifierSettings()


def test_a_key_of_another_length_is_refused(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CACAH_WEBHOOK_KEY", base64.b64encode(b"short").decode())
    with pytest.raises(ValidationError, match="32 random bytes"):
        NotifierSettings()
    environment.setenv("CACAH_WEBHOOK_KEY", "")
    assert NotifierSettings().master_key() is None


def test_the_stack_makes_a_key_once(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = stack_home.webhook_key(tmp_path, None)
    assert stack_home.webhook_key(tmp_path, None) == key
    environment.setenv("CACAH_WEBHOOK_KEY", key)
    master_key = NotifierSettings().master_key()
    assert master_key is not None
    assert len(master_key) == 32
