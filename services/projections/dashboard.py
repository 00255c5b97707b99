"""The dashboard at `/`: a page without data, which asks the routes under `/v1` with a token."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Final

import orjson
from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath

from services.projections.reader import not_found
from services.projections.shapes import drawing

WEB: Final = Path(__file__).parent / "web"
PAGE: Final = "index.html"
SHAPES: Final = "shapes.json"

MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}

# Nothing but what this service itself serves, and no way to make markup from text.
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Asked for each time and sent only when it changed: a new version is seen at once.
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file as it is sent, and the same packed; `tag` is for both, so it is a weak one."""

    content: bytes
    packed: bytes
    media_type: str
    tag: str


@router.api_route("/", methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    return _answer(request, web_files()[PAGE])


@router.api_route("/web/{name}", methods=["GET", "HEAD"])
async def web_file(
    request: Request, name: Annotated[str, InPath(description="A file of the dashboard.")]
) -> Response:
    found = web_files().get(name)
    if found is None:
        raise not_found("file of the dashboard", "the dashboard is at /")
    return _answer(request, found)


@cache
def web_files() -> dict[str, WebFile]:
    """All files of the dashboard by name, read once."""
    files = {path.name: path.read_bytes() for path in WEB.iterdir() if path.is_file()}
    files[SHAPES] = orjson.dumps(drawing())
    return {name: _web_file(name, content) for name, content in files.items()}


def _web_file(name: str, content: bytes) -> WebFile:
    tag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'
    return WebFile(content, gzip.compress(content, mtime=0), MEDIA_TYPES[Path(name).suffix], tag)


def _answer(request: Request, file: WebFile) -> Response:
    headers = HEADERS | {"ETag": file.tag}
    if file.tag in _tags(request):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers |= {"Content-Encoding": "gzip"}
        return Response(file.packed, headers=headers, media_type=file.media_type)
    return Response(file.content, headers=headers, media_type=file.media_type)


def _tags(request: Request) -> set[str]:
    return {tag.strip() for tag in request.headers.get("if-none-match", "").split(",")}
