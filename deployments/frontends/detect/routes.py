"""Routes of `/detect`, the model card and the probes; independent of engines and batches."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from azaion_engine.errors import InvalidParameterError, PictureTooLargeError, quote
from deployments.frontends.body import Service, arriving, stream_body, this_service, whole_body
from deployments.frontends.detect import schema
from deployments.frontends.failures import explain, retry_after
from deployments.service import Answer, DetectorService

router = APIRouter()

Confidence = Annotated[float | None, Query(ge=0, le=1, description="Leave out boxes below this; default: the model's.")]
Classes = Annotated[
    list[str] | None, Query(description="Class ids or names to keep, repeated or comma-separated; default: all.")
]
Iou = Annotated[
    float | None,
    Query(
        ge=0, le=1, description="Of two boxes of a class that overlap by more, the better stays; default: the model's."
    ),
]
MaxDetections = Annotated[int | None, Query(ge=1, description="Maximum number of boxes; default: the service's.")]
Format = Annotated[
    Literal["json", "image"] | None,
    Query(
        alias="format",
        description="`image` answers one picture as a JPEG with its boxes drawn; default: what the Accept header "
        "prefers, else `json`.",
    ),
]


@router.post(
    "/detect",
    tags=["detection"],
    summary="Find objects in pictures",
    response_model=schema.DetectAnswer | schema.DetectManyAnswer,
    response_description="The picture's boxes, or each picture's where several were sent.",
    responses={
        **schema.DETECT_ANSWERS,
        # If no picture of a multipart request can be used, the status is the first error's and all errors are listed.
        **schema.error_answers(400, 413, 415, 500, 503, 504, shape=schema.ErrorAnswer | schema.DetectManyAnswer),
        **schema.error_answers(422),
    },
    openapi_extra=schema.DETECT_BODY,
)
async def detect(
    request: Request,
    service: Service,
    confidence: Confidence = None,
    classes: Classes = None,
    iou: Iou = None,
    max_detections: MaxDetections = None,
    answer_format: Format = None,
) -> Response:
    """Finds objects in the picture that is the body, or in each picture of a multipart body.

    A multipart answer is 200 as long as one picture could be used; the others carry their own error.

    With `format=image`, or `Accept: image/jpeg`, the answer is the upright picture as a JPEG with the boxes drawn, and
    a Server-Timing header says how long each stage took. It is for one picture: several are a 422. Errors stay JSON.
    """
    # An empty `classes=` comes from an empty form field and means all classes.
    kept = [part for value in classes or [] for part in value.split(",") if part.strip()] or None
    wanted: dict[str, Any] = {"confidence": confidence, "classes": kept, "iou": iou, "max_detections": max_detections}
    service.refuse_when_full()
    drawn = _wants_image(answer_format, request.headers.get("accept", ""))
    if not request.headers.get("content-type", "").lower().startswith("multipart/"):
        if drawn:
            return _image(*await service.draw(await _body(request, service), **wanted))
        return await _answer(request, service, wanted)

    with arriving(service):
        uploads = await _uploads(request, service)
    if drawn:
        if len(uploads) > 1:
            raise InvalidParameterError(f"format: an image answers one picture, given {len(uploads)}; ask for json")
        return _image(*await service.draw(await _upload_bytes(service, uploads[0]), **wanted))
    pictures = await asyncio.gather(*(_detect_upload(service, upload, wanted) for upload in uploads))
    failed = [picture["error"]["status"] for picture in pictures if "error" in picture]
    status = failed[0] if len(failed) == len(pictures) else 200
    return JSONResponse({"pictures": pictures, "model": _model(service)}, status, retry_after(status))


@router.get("/model", tags=["service"], summary="Describe the model", response_model=schema.ModelCard)
async def model(service: Service) -> JSONResponse:
    """Describes the model and the engine that this replica runs."""
    return JSONResponse(service.describe())


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
async def readyz(service: Service) -> JSONResponse:
    """Answers 200 when pictures would be answered, else 503 with the reason."""
    service.check_health()
    return JSONResponse({"status": "ready"})


async def detect_plain(request: Request) -> Response:
    """Answers a request that `PlainDetect` took: its body is the picture, and it has no parameters."""
    service = this_service()
    service.refuse_when_full()
    return await _answer(request, service)


async def _answer(request: Request, service: DetectorService, wanted: Mapping[str, Any] | None = None) -> Response:
    answer = await service.detect(await _body(request, service), **(wanted or {}))
    body = orjson.dumps({**_picture(answer), "model": _model(service)})
    return Response(body, media_type="application/json")


async def _body(request: Request, service: DetectorService) -> bytes:
    with arriving(service):
        return await whole_body(request, service.settings.max_picture_bytes)


async def _detect_upload(service: DetectorService, upload: UploadFile, wanted: Mapping[str, Any]) -> dict[str, Any]:
    name = (upload.filename or "").encode(errors="replace").decode()  # an unpaired surrogate cannot be encoded
    try:
        answer = await service.detect(await _upload_bytes(service, upload), **wanted)
    except InvalidParameterError:
        raise  # applies to every picture
    except Exception as error:  # must not affect the request's other pictures
        return {"name": name, "error": explain(error, f"picture {quote(name)}").body()}
    return {"name": name, **_picture(answer)}


async def _upload_bytes(service: DetectorService, upload: UploadFile) -> bytes:
    if (upload.size or 0) > service.settings.max_picture_bytes:
        raise PictureTooLargeError(
            f"the picture has {upload.size} bytes, at most {service.settings.max_picture_bytes} are accepted"
        )
    return await upload.read()


class _WholeForm(MultiPartParser):
    """Multipart parser that records whether the body is complete; Starlette's silently drops a truncated part."""

    closed = False

    def on_end(self) -> None:
        """Called at the closing boundary."""
        self.closed = True


async def _uploads(request: Request, service: DetectorService) -> list[UploadFile]:
    settings = service.settings
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
    except UnicodeError as error:  # the Content-Type's charset is not a text encoding
        raise HTTPException(400, f"cannot read the multipart body: {error}") from error
    if not parser.closed:  # else the last picture would silently be missing
        raise HTTPException(400, "the multipart body is cut off: it has no closing boundary")
    uploads = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not uploads:
        raise HTTPException(400, "the multipart body has no file part; send pictures as -F picture=@file.jpg")
    return uploads


def _wants_image(answer_format: str | None, accept: str) -> bool:
    """Returns whether the drawn picture is requested: by `format`, else by an Accept header that prefers it to JSON."""
    if answer_format is not None or "image/" not in accept:  # nearly every request: nothing to parse
        return answer_format == "image"
    quality: dict[str, float] = {}
    for entry in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in entry.split(";"))
        given = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        with suppress(ValueError):  # ignore malformed q-values
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
        "timing_ms": answer.times.milliseconds(),
    }


def _model(service: DetectorService) -> dict[str, str]:
    return {"name": service.detector.model_name, "engine": service.detector.engine.name}
