"""ASGI application of one replica: the frontends' routes, the middlewares, and the OpenAPI document.

`python -m deployments.frontends.asgi > docs/openapi.json` writes the document.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from azaion_engine.errors import AzaionError
from azaion_engine.version import __version__
from deployments.frontends.body import this_reception
from deployments.frontends.detect import routes as detect
from deployments.frontends.detect.plain_detect import PlainDetect
from deployments.frontends.detect.schema import TAGS
from deployments.frontends.detect.shortcut import offer
from deployments.frontends.failures import answer_failure
from deployments.frontends.head import HeadAsGet
from deployments.frontends.key_check import KeyCheck, with_schemes
from deployments.frontends.loading import Loading
from deployments.frontends.open_inference import http_routes as open_inference
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


def create_api() -> FastAPI:
    """Builds the ASGI application of a replica of one model."""
    return _create(loads=False)


def create_multiplexed_api() -> FastAPI:
    """Builds the ASGI application of a replica of several models, which `Loading` loads for their requests."""
    return _create(loads=True)


def _create(loads: bool) -> FastAPI:
    api = _Api(
        title="azaion-engine",
        version=__version__,
        description="Object detection: post a picture, get boxes in its own pixels.",
        openapi_tags=TAGS,
        # Generated clients name their methods after it. If one function answers two paths, their parameters differ.
        generate_unique_id_function=lambda route: "_".join([route.name, *route.param_convertors]),
        docs_url=None,  # `page.docs` serves the documentation from own files, FastAPI from other hosts
        redoc_url=None,
        # Serve already traces the request: FastAPI's own span would start a separate trace. FastAPI versions without
        # telemetry ignore this argument.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )

    def request_over(record: RequestRecord) -> None:
        this_reception().request_over(record)

    def offer_checked(path: str, answer: ASGIApp) -> None:
        checked = answer if this_reception().guard is None else KeyCheck(answer)
        if loads:  # its requests come from a catalogue, and not over HTTP
            return
        offer(path, SafeHeaders(RequestMiddleware(checked, request_over)))

    api.add_middleware(HeadAsGet)
    api.add_middleware(
        PlainDetect,
        path="/detect",
        answer=detect.detect_plain,
        on_error=answer_failure,
        offer=offer_checked,
    )
    if loads:
        api.add_middleware(Loading)  # inside of KeyCheck: a model is loaded for known keys only
    api.add_middleware(KeyCheck)
    api.add_middleware(RequestMiddleware, request_over=request_over)
    api.add_middleware(SafeHeaders)
    for frontend in (detect, page, docs, open_inference):
        api.include_router(frontend.router)
    for error in (AzaionError, RequestValidationError, HTTPException, ClientDisconnect, Exception):
        api.add_exception_handler(error, answer_failure)
    return api


def document() -> str:
    """Returns the OpenAPI document as JSON text, in the order of the routes."""
    return json.dumps(create_api().openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(document(), end="")
