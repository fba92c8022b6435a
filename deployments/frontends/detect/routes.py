"""Routes of `/detect`, the model card and the probes; independent of engines and batches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile

from azaion_engine.errors import (
    InvalidParameterError,
    PictureTooLargeError,
    UndecodablePictureError,
    UnsupportedPictureError,
    quote,
)
from deployments.answer import Answer
from deployments.frontends.body import Service, ServingService, arriving, this_service, whole_body
from deployments.frontends.detect import schema
from deployments.frontends.detect.error_schema import ErrorAnswer, error_answers
from deployments.frontends.detect.form import is_form, read_form
from deployments.frontends.detect.parameters import DetectParameters, refuse_odd, with_form
from deployments.frontends.failures import explain, retry_after
from deployments.frontends.negotiation import qualities
from deployments.frontends.query import no_query
from deployments.service import DetectorService

router = APIRouter()


@router.post(
    "/detect",
    tags=["detection"],
    summary="Find objects in pictures",
    response_model=schema.DetectAnswer | schema.DetectManyAnswer,
    response_description="The picture's boxes, or each picture's where several were sent.",
    responses={
        **schema.DETECT_ANSWERS,
        # If no picture of a multipart request can be used, the status is the first error's and all errors are listed.
        **error_answers(400, 408, 413, 415, 429, 500, 503, 504, shape=ErrorAnswer | schema.DetectManyAnswer),
        **error_answers(401, 403, 422),
    },
    openapi_extra=schema.DETECT_BODY,
)
async def detect(request: Request, service: Service, asked: Annotated[DetectParameters, Query()]) -> Response:
    """Finds objects in the picture that is the body, or in each picture of a multipart body.

    A multipart answer is 200 as long as one picture could be used; the others carry their own error. The parameters may
    also be fields of the form. A parameter that is left empty has its default; an unknown one, or a second value of one
    other than `classes`, is a 422.

    With `format=image`, or `Accept: image/jpeg`, the answer is the upright picture as a JPEG with the boxes drawn, and
    a Server-Timing header says how long each stage took. It is for one picture: several are a 422. Errors stay JSON.
    """
    refuse_odd(request.query_params)
    service.refuse_when_full()
    if not is_form(request):
        if _wants_image(asked, request):
            data = await _body(request, service)
            with _explained(request):
                return _image(*await service.draw(data, **asked.wanted()))
        return await _answer(request, service, asked.wanted())

    with arriving(request):
        uploads, fields = await read_form(request, service.settings)
    asked = with_form(asked, request.query_params, fields)
    wanted = asked.wanted()
    if _wants_image(asked, request):
        if len(uploads) > 1:
            raise InvalidParameterError(f"format: an image answers one picture, given {len(uploads)}; ask for json")
        return _image(*await service.draw(await _upload_bytes(service, uploads[0]), **wanted))
    pictures = await asyncio.gather(*(_detect_upload(service, upload, wanted) for upload in uploads))
    failed = [picture["error"]["status"] for picture in pictures if "error" in picture]
    status = failed[0] if len(failed) == len(pictures) else 200
    return JSONResponse({"pictures": pictures, "model": _model(service)}, status, retry_after(status))


@router.get(
    "/model",
    tags=["service"],
    summary="Describe the model",
    response_model=schema.ModelCard,
    responses=error_answers(401, 403, 422),
    dependencies=[Depends(no_query)],
)
async def model(service: ServingService) -> JSONResponse:
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
    responses=error_answers(503),
)
async def readyz(service: ServingService) -> JSONResponse:
    """Answers 200 when pictures would be answered, else 503 with the reason."""
    service.check_ready()
    return JSONResponse({"status": "ready"})


async def detect_plain(request: Request) -> Response:
    """Answers a request that `PlainDetect` took: its body is the picture, and it has no parameters."""
    service = this_service()
    service.refuse_when_full()
    return await _answer(request, service)


async def _answer(request: Request, service: DetectorService, wanted: Mapping[str, Any] | None = None) -> Response:
    data = await _body(request, service)
    with _explained(request):
        answer = await service.detect(data, **(wanted or {}))
    body = orjson.dumps({**await _picture(service, data, answer), "model": _model(service)})
    return Response(body, media_type="application/json")


async def _body(request: Request, service: DetectorService) -> bytes:
    with arriving(request):
        return await whole_body(request, service.settings.max_picture_bytes)


async def _detect_upload(service: DetectorService, upload: UploadFile, wanted: Mapping[str, Any]) -> dict[str, Any]:
    name = upload.filename or ""
    try:
        data = await _upload_bytes(service, upload)
        found = await _picture(service, data, await service.detect(data, **wanted))
    except InvalidParameterError:
        raise  # applies to every picture
    except Exception as error:  # must not affect the request's other pictures
        return {"name": name, "error": explain(error, f"picture {quote(name)}").body()}
    return {"name": name, **found}


async def _upload_bytes(service: DetectorService, upload: UploadFile) -> bytes:
    if (upload.size or 0) > service.settings.max_picture_bytes:
        raise PictureTooLargeError(
            f"the picture has {upload.size} bytes, at most {service.settings.max_picture_bytes} are accepted"
        )
    return await upload.read()


@contextmanager
def _explained(request: Request) -> Iterator[None]:
    """Adds to the error of a picture that came as `curl -d` sends it what that may have done to it."""
    try:
        yield
    except (UnsupportedPictureError, UndecodablePictureError) as error:
        if not request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
            raise
        raise type(error)(f"{error} (curl's -d removes bytes from a file: send it with --data-binary @file)") from error


def _wants_image(asked: DetectParameters, request: Request) -> bool:
    """Returns whether the drawn picture is requested: by `format`, else by an Accept header that prefers it to JSON."""
    if asked.answer_format is not None:
        return asked.answer_format == "image"
    quality = qualities(request.headers.getlist("accept"))
    image = quality.get("image/jpeg", quality.get("image/*", 0))
    return image > quality.get("application/json", 0) and image >= quality.get("*/*", 0)


def _image(jpeg: bytes, timing_ms: dict[str, float]) -> Response:
    stages = ", ".join(f"{stage};dur={milliseconds}" for stage, milliseconds in timing_ms.items())
    return Response(jpeg, media_type="image/jpeg", headers={"Server-Timing": stages})


async def _picture(service: DetectorService, data: bytes, answer: Answer) -> dict[str, Any]:
    found = answer.detections
    boxes = found.to_dicts()
    places = await service.locate(data, found)
    if places is not None:
        boxes = [{**box, "geometry": place} for box, place in zip(boxes, places, strict=True)]
    return {
        "picture": {"width": found.picture_width, "height": found.picture_height},
        "boxes": boxes,
        "timing_ms": answer.times.milliseconds(),
    }


def _model(service: DetectorService) -> dict[str, str | None]:
    detector = service.detector
    return {"name": detector.model_name, "version": service.version, "engine": detector.engine.name}
