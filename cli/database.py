"""Which database a command uses, and what is said when it cannot."""

import os
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from cli.stack import StackError, StackSettings
from cli.stack.home import holder
from cli.stack.postgres import database_url

DATABASE_SETTING: Final = "CACAH_DATABASE_URL"


def database_of(home: Path | None) -> str:
    """The database that CACAH_DATABASE_URL names, else that of the stack that runs in the home.

    Raises StackError when no stack runs there.
    """
    given = os.environ.get(DATABASE_SETTING)
    if given and home is None:
        return given
    return database_url(running_stack(home, DATABASE_SETTING))


def running_stack(home: Path | None, missing: str) -> StackSettings:
    """The settings of the stack that runs in the home; `missing` would do instead of it.

    Raises StackError when no stack runs there.
    """
    settings = StackSettings()
    settings = settings.at(home or settings.home)
    if holder(settings.home) is None:
        raise StackError(
            f"no stack runs in {settings.home}; start it with `cacah up`,"
            f" name its home with --home, or set {missing}"
        )
    return settings


def reason_of(error: Exception) -> str:
    """The driver's own sentence, without what SQLAlchemy puts around it."""
    said = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    return said.splitlines()[0].rpartition(">: ")[2]
