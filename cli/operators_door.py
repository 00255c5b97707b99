"""A running service as an operator's command reaches it: address, token, and what it refuses."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import httpx
import orjson

from cli.stack import StackError, StackSettings
from cli.stack.services import urls

TOKEN_SETTING: Final = "CACAH_TOKEN"  # noqa: S105 - the name of a setting
ADDRESS_SETTING: Final = "CACAH_{service}_URL"

# Trying again all that is parked may take minutes.
ANSWER_WITHIN_S: Final = 600.0

Members = dict[str, Any]


class RefusedError(StackError):
    """A service refused; `more` are further sentences, each of one thing that is wrong."""

    def __init__(self, message: str, more: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.more = more


class OperatorsDoor:
    """One service, by the address and the token that the environment names, else the local ones.

    Every refusal and every silence is a StackError whose sentence says what to do.
    """

    def __init__(self, service: str, settings: StackSettings) -> None:
        named = os.environ.get(ADDRESS_SETTING.format(service=service.upper()))
        self._service = service
        self._address = named or urls(settings)[service]
        self._client = httpx.Client(
            base_url=self._address,
            headers={"Authorization": f"Bearer {_token(settings)}"},
            timeout=ANSWER_WITHIN_S,
        )

    def __enter__(self) -> Self:
        self._client.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.__exit__(kind, error, trace)

    def get(self, path: str, **parameters: int) -> Members:
        """The members of what is answered."""
        return self._ask("GET", path, params=parameters)

    def post(self, path: str, body: Members | None = None) -> Members:
        """The members of what is answered."""
        return self._ask("POST", path, json=body)

    def upload(self, path: str, content: Iterator[bytes], **parameters: str | int) -> Members:
        """Send a file as it is read; the members of what is answered."""
        return self._ask("POST", path, content=content, params=parameters)

    def download(self, path: str, accept: str, file: BinaryIO) -> None:
        """Write what is answered into a file."""
        with self._sent("GET", path, headers={"Accept": accept}) as answer:
            if not answer.is_success:
                answer.read()
                raise self._refused(answer)
            for chunk in answer.iter_bytes():
                file.write(chunk)

    def _ask(self, method: str, path: str, **rest: Any) -> Members:
        with self._sent(method, path, **rest) as answer:
            answer.read()
        if answer.is_success:
            members: Members = orjson.loads(answer.content)
            return members
        raise self._refused(answer)

    @contextmanager
    def _sent(self, method: str, path: str, **rest: Any) -> Iterator[httpx.Response]:
        try:
            with self._client.stream(method, path, **rest) as answer:
                yield answer
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise StackError(
                f"no {self._service} answers at {self._address} ({type(error).__name__}); start it"
                f" with `cacah up`, or set {ADDRESS_SETTING.format(service=self._service.upper())}"
            ) from None

    def _refused(self, answer: httpx.Response) -> RefusedError:
        return RefusedError(f"the {self._service} refused: {_detail(answer)}", _more(answer))


def _more(answer: httpx.Response) -> list[str]:
    try:
        errors = orjson.loads(answer.content)["errors"]
        return [str(error["detail"]) for error in errors[1:]]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return []


def _detail(answer: httpx.Response) -> str:
    try:
        return str(orjson.loads(answer.content)["detail"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"status {answer.status_code}; its log says why"


def _token(settings: StackSettings) -> str:
    """The token of the environment, else the local operator's. Raises StackError."""
    if given := os.environ.get(TOKEN_SETTING):
        return given.strip()
    if settings.operator_token is not None:
        return settings.operator_token.get_secret_value()
    path: Path = settings.home / "operator-token"
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise StackError(
            f"no token: {path} cannot be read ({error.strerror}); name the home of the running"
            f" stack with --home, or set {TOKEN_SETTING} to an operator's token"
        ) from None
