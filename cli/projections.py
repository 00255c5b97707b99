"""Projections as a command of the operator's asks them: where they are, with which token."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Final, Self

import httpx
import typer
from rich.console import Console

from cli.stack import StackError
from cli.stack.services import urls
from cli.up import read_settings

PROJECTIONS_SETTING: Final = "CACAH_PROJECTIONS_URL"
TOKEN_SETTING: Final = "CACAH_TOKEN"  # noqa: S105 - the name of a setting

# A read may wait 10 s until a position is counted.
ANSWER_WITHIN_S: Final = 60.0

COULD_NOT_RUN: Final = 2

# Wide enough for every column where there is no terminal that has a width.
PLAIN_WIDTH: Final = 160

# Of ids and codes alike; nothing that would make another address of it.
_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)

Address = Annotated[
    str | None,
    typer.Option(
        "--projections", help=f"Their address; else {PROJECTIONS_SETTING}, or the local one."
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(help=f"Holds the token; else {TOKEN_SETTING}, or the local operator's."),
]
Home = Annotated[Path | None, typer.Option(help="The home of the local stack.")]
ElectionId = Annotated[str, typer.Option("--election", help="The election's id.")]


class CannotAskError(Exception):
    """Why there is no answer, in one sentence that says what to do."""


class Projections:
    """One projections service; every method raises CannotAskError."""

    def __init__(
        self, address: str | None = None, token_file: Path | None = None, home: Path | None = None
    ) -> None:
        try:
            settings = read_settings()
        except StackError as error:
            raise CannotAskError(str(error)) from None
        settings = settings.at(home or settings.home)
        given = os.environ.get(PROJECTIONS_SETTING)
        self.address = address or given or urls(settings)["projections"]
        secret = settings.operator_token
        token = read_token(token_file, secret.get_secret_value() if secret else None, settings.home)
        self._client = httpx.Client(
            base_url=self.address,
            headers={"Authorization": f"Bearer {token}"},
            timeout=ANSWER_WITHIN_S,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def get(self, path: Sequence[str], parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON of an address below `/v1/elections/`, given by its parts."""
        for part in path:
            if not _PART.fullmatch(part):
                raise CannotAskError(f"{part!r} is neither an election's id nor a village's code")
        given = {name: value for name, value in parameters.items() if value is not None}
        try:
            answer = self._client.get("/v1/elections/" + "/".join(path), params=given)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise CannotAskError(
                f"no projections answer at {self.address} ({type(error).__name__}); start them"
                " with `cacah up`, or name others with --projections"
            ) from None
        if answer.is_success:
            body: dict[str, Any] = answer.json()
            return body
        raise CannotAskError(_said(answer))


def table_console() -> Console:
    """Where tables are printed: as wide as the terminal, whole where there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def _said(answer: httpx.Response) -> str:
    """What a problem says."""
    try:
        return str(answer.json()["detail"])
    except (ValueError, LookupError, TypeError):
        return f"projections answered {answer.status_code}; is it their address?"


def read_token(path: Path | None, operators: str | None, home: Path) -> str:
    given = os.environ.get(TOKEN_SETTING)
    if path is None and (known := given or operators):
        return known.strip()
    path = path or home / "operator-token"
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise CannotAskError(
            f"no token: {path} cannot be read ({error.strerror}); name a file with --token-file,"
            f" or set {TOKEN_SETTING}"
        ) from None
