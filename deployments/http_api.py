"""The HTTP routes: requests to pictures, errors to statuses, and nothing of engines or batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from ray import serve
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

import azaion_engine
from azaion_engine.errors import AzaionError, DeadlineExceededError, InvalidParameterError, PictureTooLargeError
from deployments import http_schema as schema
from deployments.request_record import current_request
from deployments.request_watch import RequestWatch

if TYPE_CHECKING:
    from deployments.detector_deployment import Answer, DetectorDeployment

logger = logging.getLogger("ray.serve")
router = APIRouter()
Read = TypeVar("Read")

Confidence = Annotated[float | None, Query(ge=0, le=1, description="Leave out boxes below this; default: the model's.")]
Classes = Annotated[
    list[str] | None, Query(description="Class ids or names to keep, repeated or comma-separated; default: all.")
]


def _replica() -> Any:
    """Returns the DetectorDeployment that this process serves."""
    return serve.get_replica_context().servable_object


Replica = Annotated[Any, Depends(_replica)]


def create_api() -> FastAPI:
    """Builds the ASGI application of one replica."""
    api = FastAPI(
        title="azaion-engine",
        version=azaion_engine.__version__,
        description="Object detection: post a picture, get boxes in its own pixels.",
        responses={
            status: {"model": schema.ErrorAnswer, "description": text} for status, text in schema.ERROR_STATUSES.items()
        },
        # Serve's span is the request's: FastAPI's own would begin another trace, with Serve's out of sight. Versions
        # of FastAPI without telemetry keep the word without a meaning.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    api.include_router(router)
    api.add_middleware(RequestWatch, request_over=lambda record: _replica().metrics.request_over(record))
    api.add_exception_handler(AzaionError, _on_error)
    api.add_exception_handler(RequestValidationError, _on_error)
    api.add_exception_handler(HTTPException, _on_error)
    api.add_exception_handler(ClientDisconnect, _on_error)
    api.add_exception_handler(Exception, _on_error)
    return api


@router.post("/detect", response_model=schema.DetectAnswer | schema.DetectManyAnswer, openapi_extra=schema.DETECT_BODY)
async def detect(
    request: Request, replica: Replica, confidence: Confidence = None, classes: Classes = None
) -> JSONResponse:
    """Finds objects in the picture that is the body, or in each picture of a multipart body.

    A multipart answer is 200 as long as one picture could be used; the others carry their own error.
    """
    # An empty `classes=` is a form field left empty, not a wish for nothing.
    kept = [part for value in classes or [] for part in value.split(",") if part.strip()] or None
    replica.refuse_when_full()
    if not request.headers.get("content-type", "").lower().startswith("multipart/"):
        body = await _in_time(_whole_body(request, replica.settings.max_picture_bytes), replica)
        answer = await replica.detect(body, confidence, kept)
        return JSONResponse({**_picture(answer), "model": _model(replica)})

    uploads = await _in_time(_uploads(request, replica), replica)
    pictures = await asyncio.gather(*(_detect_upload(replica, upload, confidence, kept) for upload in uploads))
    failed = [picture["error"]["status"] for picture in pictures if "error" in picture]
    status = failed[0] if len(failed) == len(pictures) else 200
    return JSONResponse({"pictures": pictures, "model": _model(replica)}, status, _retry_after(status))


@router.get("/model", response_model=schema.ModelCard)
async def model(replica: Replica) -> JSONResponse:
    """Describes the model and the engine that this replica runs."""
    return JSONResponse(replica.describe())


@router.get("/healthz", response_model=schema.Status)
async def healthz() -> JSONResponse:
    """Answers as long as the process lives."""
    return JSONResponse({"status": "live"})


@router.get("/readyz", response_model=schema.Status)
async def readyz(replica: Replica) -> JSONResponse:
    """Answers 200 when pictures would be answered, else the reason."""
    await replica.check_health()
    return JSONResponse({"status": "ready"})


async def _detect_upload(
    replica: DetectorDeployment, upload: UploadFile, confidence: float | None, classes: list[str] | None
) -> dict[str, Any]:
    try:
        if (upload.size or 0) > replica.settings.max_picture_bytes:
            raise PictureTooLargeError(
                f"the picture has {upload.size} bytes, at most {replica.settings.max_picture_bytes} are accepted"
            )
        answer = await replica.detect(await upload.read(), confidence, classes)
    except InvalidParameterError:
        raise  # wrong for every picture alike
    except Exception as error:  # the other pictures of the request are to be answered, whatever happened to this one
        return {"name": upload.filename, "error": _describe(error, f"picture {upload.filename!r}")}
    return {"name": upload.filename, **_picture(answer)}


async def _uploads(request: Request, replica: DetectorDeployment) -> list[UploadFile]:
    settings = replica.settings
    most = settings.pictures_at_once
    parser = MultiPartParser(
        request.headers, _body(request, settings.max_picture_bytes * most), max_files=most, max_fields=most
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise PictureTooLargeError(f"more than {most} pictures in one request") from error
        raise HTTPException(400, f"cannot read the multipart body: {error.message}") from error
    uploads = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not uploads:
        raise HTTPException(400, "the multipart body has no file part; send pictures as -F picture=@file.jpg")
    return uploads


async def _in_time(reading: Awaitable[Read], replica: DetectorDeployment) -> Read:
    """Bounds how long a slow client may hold a place in the replica."""
    seconds = replica.settings.timeout_s
    try:
        return await asyncio.wait_for(reading, seconds)
    except asyncio.TimeoutError:
        raise DeadlineExceededError(f"the body did not arrive within {seconds:g} s") from None


async def _whole_body(request: Request, limit: int) -> bytes:
    return b"".join([chunk async for chunk in _body(request, limit)])


async def _body(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """Streams the body and stops as soon as it is larger than the limit, whatever its header said."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise PictureTooLargeError(f"the body has {declared} bytes, at most {limit} are accepted")
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise PictureTooLargeError(f"the body has more than {limit} bytes, which is the most accepted")
        yield chunk


def _picture(answer: Answer) -> dict[str, Any]:
    found = answer.detections
    return {
        "picture": {"width": found.picture_width, "height": found.picture_height},
        "boxes": found.to_dicts(),
        "timing_ms": answer.timing_ms,
    }


def _model(replica: DetectorDeployment) -> dict[str, str]:
    return {"name": replica.detector.model_name, "engine": replica.detector.engine.name}


def _error(code: str, message: str, status: int) -> dict[str, Any]:
    return {"code": code, "message": message, "status": status}


def _describe(error: Exception, where: str) -> dict[str, Any]:
    """Turns an error into the body of the one error shape, and has it counted."""
    described = _shape(error, where)
    if (request := current_request.get()) is not None:
        request.failed(described["code"])
    return described


def _shape(error: Exception, where: str) -> dict[str, Any]:
    """Says what went wrong; what was not raised on purpose is logged and not shown."""
    if isinstance(error, AzaionError):
        return _error(error.code, str(error), error.http_status)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"] if part != "query")
        return _error("invalid_parameter", f"{name}: {first['msg']}, given {first.get('input')!r}", 422)
    if isinstance(error, HTTPException):
        codes = {400: "bad_request", 404: "not_found", 405: "method_not_allowed"}
        return _error(codes.get(error.status_code, "http_error"), str(error.detail), error.status_code)
    if isinstance(error, ClientDisconnect):
        return _error("cancelled", "the client left before its picture had arrived", 499)
    logger.error("unexpected error in %s", where, exc_info=error)
    return _error("internal", "an unexpected error; the server's log has the details", 500)


def _retry_after(status: int, error: Exception | None = None) -> dict[str, str]:
    return {"Retry-After": str(getattr(error, "retry_after_s", 1))} if status == 503 else {}


async def _on_error(request: Request, error: Exception) -> JSONResponse:
    body = _describe(error, request.url.path)
    return JSONResponse({"error": body}, body["status"], _retry_after(body["status"], error))
