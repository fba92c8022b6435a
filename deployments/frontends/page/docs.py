"""Routes of the API's documentation at `/docs`: Swagger UI from the package fastapi-offline, nothing from other hosts.

That package was chosen because it needs nothing but FastAPI and is renewed with Swagger UI. Only its files are used.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from fastapi import APIRouter, Depends, Request, Response
from starlette.exceptions import HTTPException

from azaion_engine.errors import quote
from azaion_engine.extras import import_extra
from deployments.frontends.page.routes import answer_file
from deployments.frontends.query import no_query

_SWAGGER = ("swagger-ui.css", "swagger-ui-bundle.js")
_OWN = ("docs.js",)
_POLICY = {
    # Swagger UI sets style attributes, and its icons are data: addresses.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
}

router = APIRouter(include_in_schema=False, dependencies=[Depends(no_query)])


@router.api_route("/docs", methods=["GET", "HEAD"])
def docs(request: Request) -> Response:
    """Answers the documentation; its addresses are relative, so it works under any route prefix."""
    return answer_file(request, "docs.html", _own("docs.html"), _POLICY)


@router.api_route("/docs/{name}", methods=["GET", "HEAD"])
def docs_file(request: Request, name: str) -> Response:
    """Answers a style sheet or script of the documentation."""
    if name in _OWN:
        return answer_file(request, name, _own(name))
    if name in _SWAGGER:
        return answer_file(request, name, _swagger(name))
    raise HTTPException(404, f"the documentation has no file {quote(name)}")


def _own(name: str) -> bytes:
    return resources.files("deployments.frontends.page").joinpath("static").joinpath(name).read_bytes()


def _swagger(name: str) -> bytes:
    fastapi_offline = import_extra(
        "fastapi_offline", "fastapi-offline, which /docs needs,", "pip install fastapi-offline"
    )
    return (Path(fastapi_offline.__file__).parent / "static" / name).read_bytes()
