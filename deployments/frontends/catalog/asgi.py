"""ASGI application of a catalogue: its routes, the page, the middlewares, and the OpenAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from azaion_engine.errors import AzaionError
from azaion_engine.version import __version__
from deployments.frontends.body import this_reception
from deployments.frontends.catalog import protocol_routes, routes
from deployments.frontends.failures import answer_failure
from deployments.frontends.head import HeadAsGet
from deployments.frontends.key_check import KeyCheck, with_schemes
from deployments.frontends.page import docs
from deployments.frontends.page import routes as page
from deployments.frontends.safe_headers import SafeHeaders
from deployments.watching.middleware import RequestMiddleware
from deployments.watching.record import RequestRecord


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = with_schemes(super().openapi())
        return self.openapi_schema


def create_catalog_api() -> FastAPI:
    """Builds the ASGI application of a catalogue."""
    api = _Api(
        title="azaion-engine",
        version=__version__,
        description="Object detection with several models: `/models` lists them, `/models/NAME/docs` documents each.",
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # as in frontends.asgi
    )

    def request_over(record: RequestRecord) -> None:
        this_reception().request_over(record)

    api.add_middleware(HeadAsGet)
    api.add_middleware(KeyCheck, of_catalog=True)
    api.add_middleware(RequestMiddleware, request_over=request_over)
    api.add_middleware(SafeHeaders)
    for frontend in (protocol_routes, routes, page, docs):
        api.include_router(frontend.router)
    for error in (AzaionError, RequestValidationError, HTTPException, ClientDisconnect, Exception):
        api.add_exception_handler(error, answer_failure)
    return api
