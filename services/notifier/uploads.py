"""A list on its way in: into a file that is gone with the request, bounded, a few at a time."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from shared.problems import Problem, ProblemError, ProblemType

MOST_BYTES: Final = 128 * 1024 * 1024
MOST_UPLOADS: Final = 8
UPLOAD_S: Final = 600.0
RETRY_AFTER_S: Final = 10


class Uploads:
    """Takes lists into files that are gone with the request; one is compared at a time, so that
    the feed never waits for many."""

    def __init__(self) -> None:
        self._under_way = 0
        self.turn = asyncio.Lock()

    @asynccontextmanager
    async def taken(self, request: Request) -> AsyncIterator[Path]:
        """The body of a request as a file. Raises ProblemError."""
        if self._under_way >= MOST_UPLOADS:
            raise ProblemError(
                Problem(
                    ProblemType.RATE_LIMITED,
                    f"{MOST_UPLOADS} lists are being compared; send yours again in a moment.",
                ),
                {"Retry-After": str(RETRY_AFTER_S)},
            )
        self._under_way += 1
        try:
            with tempfile.TemporaryDirectory(prefix="cacah-list-") as directory:
                path = Path(directory) / "list"
                await _save(request, path)
                yield path
        finally:
            self._under_way -= 1


async def _save(request: Request, path: Path) -> None:
    _require_plain(request)
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MOST_BYTES:
        raise _too_large()
    size = 0
    try:
        with path.open("wb") as file:
            async with asyncio.timeout(UPLOAD_S):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > MOST_BYTES:
                        raise _too_large()
                    file.write(chunk)
    except ClientDisconnect:
        raise ProblemError(
            Problem(ProblemType.INVALID, "The list was cut off; send it again.", "body")
        ) from None
    except TimeoutError:
        raise ProblemError(
            Problem(
                ProblemType.INVALID,
                f"The list did not arrive within {UPLOAD_S:.0f} seconds; send it again, or district"
                " by district with ?area=.",
                "body",
                408,
            )
        ) from None


def _require_plain(request: Request) -> None:
    kind = request.headers.get("content-type", "").lower()
    packed = request.headers.get("content-encoding", "identity").lower()
    if kind.startswith("multipart/") or packed != "identity":
        raise ProblemError(
            Problem(
                ProblemType.INVALID,
                "Send the file itself as the body, not in a form and not packed, as"
                " `curl --data-binary @LIST` does.",
                "body",
                415,
            )
        )


def _too_large() -> ProblemError:
    return ProblemError(
        Problem(
            ProblemType.TOO_LARGE,
            f"A list may have {MOST_BYTES // 2**20} MiB at most; send it district by district with"
            " ?area=.",
            "body",
        )
    )
