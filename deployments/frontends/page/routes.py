"""Routes of the page at `/` and of all that it loads: the files of `static/` and the sample pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import PurePath
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.exceptions import HTTPException

from azaion_engine.errors import quote
from azaion_engine.model.file import SAMPLES, sample_picture
from deployments.frontends.query import no_query

# Own table: the system's has two types for .js and may lack a suffix.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
_HEADERS = {
    # A browser keeps its copy but revalidates it each time (304): a new release shows at once.
    "Cache-Control": "no-cache",
    # blob: shows the picture that the user chose; it is sent to /detect only.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'",
    "X-Frame-Options": "SAMEORIGIN",
}

router = APIRouter(include_in_schema=False)

# Plain `def`: FastAPI runs these in its thread pool, so reading a file never blocks the event loop.


@router.get("/")
def page(request: Request) -> Response:
    """Answers the page; every address in it is relative, so it works under any route prefix."""
    return _static(request, "index.html")


def page_of_several(request: Request) -> Response:
    """Answers the page of a service with several models, which asks for their list."""
    html: bytes = _folder().joinpath("index.html").read_bytes()
    return answer_file(request, "index.html", html.replace(b"<body>", b"<body data-models>"))


@router.get("/page/{name}", dependencies=[Depends(no_query)])
def page_file(request: Request, name: str) -> Response:
    """Answers a style sheet, script or icon of the page."""
    return _static(request, name)


@router.get("/page/stage/{name}", dependencies=[Depends(no_query)])
def stage_file(request: Request, name: str) -> Response:
    """Answers a script of the stage, which shows pictures and boxes."""
    return _static(request, name, "stage")


@router.get("/samples/{name}", dependencies=[Depends(no_query)])
def sample(request: Request, name: str) -> Response:
    """Answers a sample picture that ships with the library."""
    if name not in SAMPLES:
        raise HTTPException(404, f"there is no sample {quote(name)}, only {', '.join(SAMPLES)}")
    return answer_file(request, name, sample_picture(name))


def _folder(*folders: str) -> Any:
    return resources.files("deployments.frontends.page").joinpath("static", *folders)


def _static(request: Request, name: str, *folders: str) -> Response:
    folder = _folder(*folders)
    if name not in {file.name for file in folder.iterdir() if file.is_file()}:
        raise HTTPException(404, f"the page has no file {quote(name)}")
    content: bytes = folder.joinpath(name).read_bytes()
    return answer_file(request, name, content)


def answer_file(request: Request, name: str, content: bytes, more: Mapping[str, str] | None = None) -> Response:
    """Answers a file, or 304 if the browser's copy is up to date.

    Args:
        request: What was asked for.
        name: The file's name; its suffix sets the type.
        content: The file.
        more: Headers in the place of the page's own.
    """
    # Hash of the content, not the file's time: every replica on every node gives the same tag.
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**_HEADERS, **(more or {}), "ETag": tag}
    known = {given.strip().removeprefix("W/") for given in request.headers.get("if-none-match", "").split(",")}
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_TYPES[PurePath(name).suffix])
