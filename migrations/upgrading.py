"""Run the steps that a database has not seen, one process at a time."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config

HERE: Final = Path(__file__).parent


def upgrade(url: str) -> None:
    """Migrate to the newest step; several processes may call this at once, and it repeats."""
    config = Config()
    config.set_main_option("script_location", str(HERE))
    config.attributes["url"] = url
    command.upgrade(config, "head")
