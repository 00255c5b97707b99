"""The registry's public door as the importer uses it: what gets no answer is sent again."""

import asyncio
import gzip
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Final, Self

import httpx
import orjson

from cli.importing.events import Event
from cli.importing.stopping import ImportStoppedError

ANSWER_WITHIN_S: Final = 60.0
FIRST_WAIT_S: Final = 0.25
LONGEST_WAIT_S: Final = 15.0
LONGEST_NAMED_WAIT_S: Final = 120.0
REACHED_WITHIN_S: Final = 5.0
GIVE_UP_AFTER_S: Final = 1_800.0
COMPRESSION: Final = 1

_HEADERS: Final = {
    "Content-Type": "application/cloudevents-batch+json",
    "Content-Encoding": "gzip",
}

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Why there is no answer yet, and how long the registry asks to wait, if it does."""

    why: str
    wait_s: float | None = None


class Door:
    """Sends batches to one registry with one token; `say` hears what it waits for."""

    def __init__(self, registry: str, token: str, say: Callable[[str], None]) -> None:
        self._registry = registry
        self._say = say
        self._client = httpx.AsyncClient(
            base_url=registry,
            headers=_HEADERS | {"Authorization": f"Bearer {token}"},
            timeout=ANSWER_WITHIN_S,
        )
        self._silent_since: float | None = None
        self.retries = 0

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def require(self) -> None:
        """Raises ImportStoppedError when nobody answers at the address."""
        deadline = time.monotonic() + REACHED_WITHIN_S
        while True:
            try:
                await self._client.get("/healthz")
                return
            except (httpx.TransportError, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                if time.monotonic() > deadline or not isinstance(error, httpx.ConnectError):
                    raise ImportStoppedError(
                        f"no registry answers at {self._registry} ({type(error).__name__});"
                        " start it with `cacah up`, or name another with --registry"
                    ) from None
            await asyncio.sleep(FIRST_WAIT_S)

    async def send(self, events: list[Event]) -> list[Result]:
        """The results of a batch, sent as often as it takes. Raises ImportStoppedError."""
        body = gzip.compress(orjson.dumps(events), compresslevel=COMPRESSION)
        wait_s = FIRST_WAIT_S
        while isinstance(answer := await self._try(body), NoAnswer):
            pause_s = answer.wait_s or wait_s * random.uniform(0.7, 1.3)  # noqa: S311
            self._wait(answer.why, pause_s)
            await asyncio.sleep(pause_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)
        self._silent_since = None
        if len(answer) != len(events):
            raise ImportStoppedError("the registry's answer does not fit what was sent")
        return answer

    async def _try(self, body: bytes) -> list[Result] | NoAnswer:
        try:
            answer = await self._client.post("/v1/events", content=body)
        except httpx.TransportError as error:
            return NoAnswer(type(error).__name__)
        match answer.status_code:
            case 200:
                return _results(answer)
            case 429 | 500 | 502 | 503 | 504:
                return NoAnswer(f"it answered {answer.status_code}", _named_wait_s(answer))
            case 401:
                raise ImportStoppedError(
                    "the token is not valid, or was revoked; name another with --token-file"
                )
            case status:
                raise ImportStoppedError(
                    f"the registry refused to take events: {status}, {_detail(answer)}"
                )

    def _wait(self, why: str, pause_s: float) -> None:
        self.retries += 1
        now = time.monotonic()
        self._silent_since = self._silent_since or now
        if now - self._silent_since > GIVE_UP_AFTER_S:
            raise ImportStoppedError(
                f"the registry at {self._registry} has not answered for"
                f" {GIVE_UP_AFTER_S / 60:.0f} minutes; the same command goes on where this ended"
            )
        self._say(
            f"waiting for the registry at {self._registry}: {why};"
            f" the same is sent again in {pause_s:.1f} s"
        )


def _results(answer: httpx.Response) -> list[Result] | NoAnswer:
    try:
        results: list[Result] = orjson.loads(answer.content)["results"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return NoAnswer("its answer was cut off")
    return results


def _named_wait_s(answer: httpx.Response) -> float | None:
    """Retry-After, in seconds or as a date; no longer than can be meant."""
    named = answer.headers.get("retry-after", "")
    try:
        wait_s = float(named) if named.isdigit() else parsedate_to_datetime(named).timestamp()
    except ValueError:
        return None
    if not named.isdigit():
        wait_s -= time.time()
    return min(max(wait_s, FIRST_WAIT_S), LONGEST_NAMED_WAIT_S)


def _detail(answer: httpx.Response) -> str:
    try:
        detail = orjson.loads(answer.content)["detail"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "without a reason"
    return str(detail)
