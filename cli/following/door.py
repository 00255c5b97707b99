"""The notifier as KPU reaches it: where it is, with which token, and what it refuses."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import typer

from cli.projections import CannotAskError, read_token
from cli.stack import StackError
from cli.stack.services import urls
from cli.up import read_settings

NOTIFIER_SETTING: Final = "CACAH_NOTIFIER_URL"

CONNECT_WITHIN_S: Final = 10.0
# The notifier sends a comment at least every 15 s; a longer silence is a dead connection.
SILENCE_S: Final = 20.0
PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_RETRY_AFTER_S: Final = 60

_ELECTION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)

Address = Annotated[
    str | None,
    typer.Option("--notifier", help=f"Its address; else {NOTIFIER_SETTING}, or the local one."),
]


class NotifierAwayError(Exception):
    """The notifier cannot answer now; `wait_s` is what it asked for."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Door:
    """The notifier's address and a token of KPU's or an operator's."""

    address: str
    token: str = field(repr=False)

    def client(self) -> httpx.AsyncClient:
        """A client of it. Raises CannotAskError for an address that is none."""
        try:
            address = httpx.URL(self.address)
        except httpx.InvalidURL as error:
            raise CannotAskError(f"--notifier {self.address} is no address ({error})") from None
        if address.scheme not in ("http", "https") or not address.host:
            raise CannotAskError(f"--notifier {self.address}: write http://host:port")
        return httpx.AsyncClient(
            base_url=address,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=httpx.Timeout(CONNECT_WITHIN_S, read=SILENCE_S),
        )


def find_door(address: str | None, token_file: Path | None, home: Path | None) -> Door:
    """The notifier that is named, else the local one. Raises CannotAskError."""
    try:
        settings = read_settings()
    except StackError as error:
        raise CannotAskError(str(error)) from None
    settings = settings.at(home or settings.home)
    place = address or os.environ.get(NOTIFIER_SETTING) or urls(settings)["notifier"]
    secret = settings.operator_token
    token = read_token(token_file, secret.get_secret_value() if secret else None, settings.home)
    return Door(place, token)


def election_path(election: str) -> str:
    """Where the feeds of an election are. Raises CannotAskError."""
    if not _ELECTION.fullmatch(election):
        raise CannotAskError(f"{election!r} is no election's id, such as pilkada-2024")
    return f"/v1/elections/{election}"


async def ask(client: httpx.AsyncClient, path: str, **query: Any) -> Mapping[str, Any]:
    """What an address answers. Raises CannotAskError and NotifierAwayError."""
    try:
        answer = await client.get(path, params=query)
    except httpx.TransportError as error:
        raise NotifierAwayError(
            f"no notifier answers at {client.base_url} ({type(error).__name__})"
        ) from None
    await require_success(answer)
    try:
        body: Mapping[str, Any] = answer.json()
    except ValueError:
        raise CannotAskError(said(answer)) from None
    return body


async def require_success(answer: httpx.Response) -> None:
    """Go on where the answer is 200. Raises CannotAskError and NotifierAwayError."""
    if answer.status_code == httpx.codes.OK:
        return
    await answer.aread()
    if answer.status_code in PASSING:
        raise NotifierAwayError(said(answer), _retry_after_s(answer))
    raise CannotAskError(said(answer))


def said(answer: httpx.Response) -> str:
    """What a problem says."""
    try:
        return str(answer.json()["detail"])
    except (ValueError, LookupError, TypeError):
        return f"{answer.url.host} answered {answer.status_code}; is it the notifier's address?"


def _retry_after_s(answer: httpx.Response) -> float:
    written = answer.headers.get("retry-after", "")
    if not (written.isascii() and written.isdigit()):
        return 0.0
    return float(min(int(written[:6]), LONGEST_RETRY_AFTER_S))
