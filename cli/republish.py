"""`cacah republish`: publish the log to Kafka again, from a position on."""

import os
import time
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.stack import StackError, StackSettings
from cli.stack.services import urls
from cli.up import read_settings

TOKEN_SETTING: Final = "CACAH_TOKEN"  # noqa: S105 - the name of a setting
REGISTRY_SETTING: Final = "CACAH_REGISTRY_URL"

COULD_NOT_RUN: Final = 2
POLL_S: Final = 0.3
ANSWER_WITHIN_S: Final = 10.0


class RepublishError(Exception):
    """Why the log is not published again, and what to do."""


def republish(
    from_position: Annotated[
        int, typer.Option("--from", min=1, metavar="POSITION", help="The first position.")
    ] = 1,
    registry: Annotated[
        str | None, typer.Option(help=f"Its address; else {REGISTRY_SETTING}, or the local one.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help=f"An operator's token; else {TOKEN_SETTING}, or the local one."),
    ] = None,
) -> None:
    """Publish the log to population.events again, up to where it ends now.

    Nothing is counted or told twice by it: whoever has an event drops it by its position.
    """
    console = Console(stderr=True)
    try:
        settings = read_settings()
        address = registry or os.environ.get(REGISTRY_SETTING) or urls(settings)["registry"]
        headers = {"Authorization": f"Bearer {_token(token_file, settings)}"}
        with httpx.Client(base_url=address, headers=headers, timeout=ANSWER_WITHIN_S) as http:
            done = follow(http, from_position, console)
    except (RepublishError, StackError) as error:
        console.print(f"cacah republish: {error}", style="bold red", highlight=False)
        raise typer.Exit(COULD_NOT_RUN) from None
    typer.echo(f"Everything from position {done['from']} to {done['up_to']} is published again.")


def follow(http: httpx.Client, from_position: int, console: Console) -> dict[str, Any]:
    """Ask for it and show how far it is until it is done. Raises RepublishError."""
    asked = _asked(http, "POST", "/v1/republish", json={"from": from_position})
    columns = (TextColumn("publishing again"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("", total=asked["up_to"] - asked["from"] + 1)
        while asked["finished_at"] is None:
            time.sleep(POLL_S)
            try:
                asked = _asked(http, "GET", f"/v1/republish/{asked['id']}")
            except httpx.TransportError:
                # The request is kept in the database: it goes on when the registry is back.
                continue
            progress.update(task, completed=asked["reached"] - asked["from"] + 1)
    return asked


def _asked(http: httpx.Client, method: str, path: str, **given: Any) -> dict[str, Any]:
    try:
        answer = http.request(method, path, **given)
    except httpx.TransportError as error:
        if method == "GET":
            raise
        raise RepublishError(
            f"the registry at {http.base_url} does not answer ({type(error).__name__}); start it"
            f" with `cacah up`, or name its address with --registry"
        ) from None
    if answer.is_success:
        body: dict[str, Any] = answer.json()
        return body
    raise RepublishError(_said(answer))


def _said(answer: httpx.Response) -> str:
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"the registry answered {answer.status_code}; is the address right?"
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        detail += " Give an operator's token with --token-file."
    return detail


def _token(token_file: Path | None, settings: StackSettings) -> str:
    if token_file is None and (given := os.environ.get(TOKEN_SETTING)):
        return given.strip()
    if token_file is None and settings.operator_token is not None:
        return settings.operator_token.get_secret_value()
    path = token_file or settings.home / "operator-token"
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise RepublishError(
            f"no token: {path} cannot be read ({error.strerror}); name an operator's with"
            f" --token-file, or set {TOKEN_SETTING}"
        ) from None
