"""The HTTP routes: requests to pictures, errors to statuses, and nothing of engines or batches."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic_core import to_json
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

import azaion_engine
from azaion_engine.errors import AzaionError, InvalidParameterError, PictureTooLargeError
from deployments.frontends.body import Replica, arriving, retry_after, stream_body, this_replica, whole_body
from deployments.frontends.detect import schema
from deployments.frontends.detect.plain_detect import PlainDetect
from deployments.frontends.open_inference.http_routes import router as open_inference
from deployments.frontends.page import routes as web_page
from deployments.watching.middleware import RequestMiddleware
from deployments.watching.record import current_request

if TYPE_CHECKING:
    from deployments.deployment import Answer, DetectorDeployment

logger = logging.getLogger("ray.serve")
router = APIRouter()

Confidence = Annotated[float | None, Query(ge=0, le=1, description="Leave out boxes below this; default: the model's.")]
Classes = Annotated[
    list[str] | None, Query(description="Class ids or names to keep, repeated or comma-separated; default: all.")
]
Format = Annotated[
    Literal["json", "image"] | None,
    Query(
        alias="format",
        description="`image` answers one picture as a JPEG with its boxes drawn; default: what the Accept header "
        "prefers, else `json`.",
    ),
]


def create_api() -> FastAPI:
    """Builds the ASGI application of one replica."""
    api = FastAPI(
        title="azaion-engine",
        version=azaion_engine.__version__,
        description="Object detection: post a picture, get boxes in its own pixels.",
        openapi_tags=schema.TAGS,
        # Generated clients name their methods by it. Where one function answers two paths, their parameters differ.
        generate_unique_id_function=lambda route: "_".join([route.name, *route.param_convertors]),
        # Serve's span is the request's: FastAPI's own would begin another trace, with Serve's out of sight. Versions
        # of FastAPI without telemetry keep the word without a meaning.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    api.add_middleware(PlainDetect, path="/detect", answer=_detect_plain, on_error=_on_error)
    api.add_middleware(RequestMiddleware, request_over=lambda record: this_replica().request_over(record))
    api.include_router(router)
    api.include_router(web_page.router)
    api.include_router(open_inference)
    api.add_exception_handler(AzaionError, _on_error)
    api.add_exception_handler(RequestValidationError, _on_error)
    api.add_exception_handler(HTTPException, _on_error)
    api.add_exception_handler(ClientDisconnect, _on_error)
    api.add_exception_handler(Exception, _on_error)
    return api


@router.post(
    "/detect",
    tags=["detection"],
    summary="Find objects in pictures",
    response_model=schema.DetectAnswer | schema.DetectManyAnswer,
    response_description="The picture's boxes, or each picture's where several were sent.",
    responses={
        **schema.DETECT_ANSWERS,
        # A multipart request of which no picture could be used has the first one's status and tells of each.
        **schema.error_answers(400, 413, 415, 500, 503, 504, shape=schema.ErrorAnswer | schema.DetectManyAnswer),
        **schema.error_answers(422),
    },
    openapi_extra=schema.DETECT_BODY,
)
async def detect(
    request: Request,
    replica: Replica,
    confidence: Confidence = None,
    classes: Classes = None,
    answer_format: Format = None,
) -> Response:
    """Finds objects in the picture that is the body, or in each picture of a multipart body.

    A multipart answer is 200 as long as one picture could be used; the others carry their own error.

    With `format=image`, or `Accept: image/jpeg`, the answer is the upright picture as a JPEG with the boxes drawn, and
    a Server-Timing header says how long each stage took. It is for one picture: several are a 422. Errors stay JSON.
    """
    # An empty `classes=` is a form field left empty, not a wish for nothing.
    kept = [part for value in classes or [] for part in value.split(",") if part.strip()] or None
    replica.refuse_when_full()
    drawn = _wants_image(answer_format, request.headers.get("accept", ""))
    if not request.headers.get("content-type", "").lower().startswith("multipart/"):
        if drawn:
            return _image(*await replica.draw(await _body(request, replica), confidence, kept))
        return await _answer(request, replica, confidence, kept)

    with arriving(replica):
        uploads = await _uploads(request, replica)
    if drawn:
        if len(uploads) > 1:
            raise InvalidParameterError(f"format: an image answers one picture, given {len(uploads)}; ask for json")
        return _image(*await replica.draw(await _upload_bytes(replica, uploads[0]), confidence, kept))
    pictures = await asyncio.gather(*(_detect_upload(replica, upload, confidence, kept) for upload in uploads))
    failed = [picture["error"]["status"] for picture in pictures if "error" in picture]
    status = failed[0] if len(failed) == len(pictures) else 200
    return JSONResponse({"pictures": pictures, "model": _model(replica)}, status, retry_after(status))


@router.get("/model", tags=["service"], summary="Describe the model", response_model=schema.ModelCard)
async def model(replica: Replica) -> JSONResponse:
    """Describes the model and the engine that this replica runs."""
    return JSONResponse(replica.describe())


@router.get("/healthz", tags=["service"], summary="Does the process live?", response_model=schema.Status)
async def healthz() -> JSONResponse:
    """Answers as long as the process lives."""
    return JSONResponse({"status": "live"})


@router.get(
    "/readyz",
    tags=["service"],
    summary="Would pictures be answered?",
    response_model=schema.Status,
    responses=schema.error_answers(503),
)
async def readyz(replica: Replica) -> JSONResponse:
    """Answers 200 when pictures would be answered, else 503 with the reason."""
    await replica.check_health()
    return JSONResponse({"status": "ready"})


async def _detect_plain(request: Request) -> Response:
    replica = this_replica()
    replica.refuse_when_full()
    return await _answer(request, replica)


async def _answer(
    request: Request, replica: DetectorDeployment, confidence: float | None = None, classes: list[str] | None = None
) -> Response:
    answer = await replica.detect(await _body(request, replica), confidence, classes)
    # Pydantic's encoder takes a quarter of the time of the standard library's.
    body = to_json({**_picture(answer), "model": _model(replica)})
    return Response(body, media_type="application/json")


async def _body(request: Request, replica: DetectorDeployment) -> bytes:
    with arriving(replica):
        return await whole_body(request, replica.settings.max_picture_bytes)


async def _detect_upload(
    replica: DetectorDeployment, upload: UploadFile, confidence: float | None, classes: list[str] | None
) -> dict[str, Any]:
    name = (upload.filename or "").encode(errors="replace").decode()  # half of a surrogate pair cannot be answered
    try:
        answer = await replica.detect(await _upload_bytes(replica, upload), confidence, classes)
    except InvalidParameterError:
        raise  # wrong for every picture alike
    except Exception as error:  # the other pictures of the request are to be answered, whatever happened to this one
        return {"name": name, "error": _describe(error, f"picture {name!r}")}
    return {"name": name, **_picture(answer)}


async def _upload_bytes(replica: DetectorDeployment, upload: UploadFile) -> bytes:
    if (upload.size or 0) > replica.settings.max_picture_bytes:
        raise PictureTooLargeError(
            f"the picture has {upload.size} bytes, at most {replica.settings.max_picture_bytes} are accepted"
        )
    return await upload.read()


class _WholeForm(MultiPartParser):
    """Starlette's parser, which leaves out a part that is cut off, and here tells whether all have come."""

    closed = False

    def on_end(self) -> None:
        """Is called at the closing boundary."""
        self.closed = True


async def _uploads(request: Request, replica: DetectorDeployment) -> list[UploadFile]:
    settings = replica.settings
    most = settings.pictures_at_once
    parser = _WholeForm(
        request.headers, stream_body(request, settings.max_picture_bytes * most), max_files=most, max_fields=most
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise PictureTooLargeError(f"more than {most} pictures in one request") from error
        raise HTTPException(400, f"cannot read the multipart body: {error.message}") from error
    except UnicodeError as error:  # of a charset in the Content-Type that is none for texts
        raise HTTPException(400, f"cannot read the multipart body: {error}") from error
    if not parser.closed:  # the last picture would be missing from the answer, without a word
        raise HTTPException(400, "the multipart body is cut off: it has no closing boundary")
    uploads = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not uploads:
        raise HTTPException(400, "the multipart body has no file part; send pictures as -F picture=@file.jpg")
    return uploads


def _wants_image(answer_format: str | None, accept: str) -> bool:
    """Tells whether the drawn picture is asked for: by `format`, else by an Accept header that prefers it to JSON."""
    if answer_format is not None or "image/" not in accept:  # nearly every request: nothing to parse
        return answer_format == "image"
    quality: dict[str, float] = {}
    for entry in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in entry.split(";"))
        given = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        with suppress(ValueError):  # rubbish is no wish
            quality[kind] = float(given)
    image = quality.get("image/jpeg", quality.get("image/*", 0))
    return image > quality.get("application/json", 0) and image >= quality.get("*/*", 0)


def _image(jpeg: bytes, timing_ms: dict[str, float]) -> Response:
    stages = ", ".join(f"{stage};dur={milliseconds}" for stage, milliseconds in timing_ms.items())
    return Response(jpeg, media_type="image/jpeg", headers={"Server-Timing": stages})


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


async def _on_error(request: Request, error: Exception) -> JSONResponse:
    body = _describe(error, request.url.path)
    headers = getattr(error, "headers", None) or {}  # a 405 tells what is allowed
    return JSONResponse({"error": body}, body["status"], {**headers, **retry_after(body["status"], error)})
