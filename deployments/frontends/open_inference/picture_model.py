"""PictureModel: encoded pictures in, boxes in pixels of each picture out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import InvalidParameterError, PictureError, PictureTooLargeError, quote
from deployments.answer import Answer
from deployments.errors import InvalidRequestError
from deployments.frontends.open_inference.bounds.body_limits import HEADER_BYTES, MOST_JSON_BYTES, BodyLimits
from deployments.frontends.open_inference.model import OpenModel, TensorSpec, all_or_none
from deployments.frontends.open_inference.tensors import InputTensor, OutputTensor
from deployments.frontends.query import class_names
from deployments.service import DetectorService
from deployments.watching.stage_times import StageTimes

_MOST_PICTURES_BYTES = 2**27
"""Maximum bytes of all pictures of one request."""
_LENGTH_BYTES = 4
"""Bytes before each picture in binary form: its length."""


class PictureModel(OpenModel):
    """The detector: `picture` BYTES `[n]`, each element a JPEG, PNG, WebP, BMP, TIFF, AVIF, HEIC or JPEG XL file.

    Every output has n rows and as many columns as the picture with most boxes has (none: `[n, 0]`). Shorter rows are
    padded with zeros, class -1 and empty names; `num_detections` gives the boxes of each row. A model for oriented
    boxes has two outputs more: `angles` in radians, and `corners` `[n, k, 4, 2]` of x, y, ordered as in `geometry`; a
    pose model has `keypoints` `[n, k, count, 3]` of x, y and visibility.
    """

    platform = "azaion_engine"
    parameters = frozenset({"confidence", "classes", "iou", "max_detections", "tiles", "content_type"})

    def __init__(self, service: DetectorService) -> None:
        """Describes the model of a replica."""
        outputs: tuple[TensorSpec, ...] = (
            TensorSpec("num_detections", "INT32", (-1,)),
            TensorSpec("boxes", "FP32", (-1, -1, 4)),
            TensorSpec("confidences", "FP32", (-1, -1)),
            TensorSpec("class_ids", "INT32", (-1, -1)),
            TensorSpec("class_names", "BYTES", (-1, -1)),
        )
        head = service.detector.engine.choice.head
        if head.keypoints:
            outputs += (TensorSpec("keypoints", "FP32", (-1, -1, head.keypoints.count, 3)),)
        if head.oriented:
            outputs += (TensorSpec("angles", "FP32", (-1, -1)), TensorSpec("corners", "FP32", (-1, -1, 4, 2)))
        picture = TensorSpec("picture", "BYTES", (-1,))
        most = service.settings.pictures_at_once
        super().__init__(service, service.detector.model_name, picture, outputs, most, max_batch_size=0)

    @property
    def limits(self) -> BodyLimits:
        """Maximum number of pictures of maximum size, up to 128 MiB together, in base64 if it is JSON."""
        one = self.service.settings.max_picture_bytes
        pictures = max(one, min(self.most * one, _MOST_PICTURES_BYTES))
        as_json = min(pictures * 4 // 3, MOST_JSON_BYTES)
        return BodyLimits(self.most, pictures + self.most * _LENGTH_BYTES, as_json + HEADER_BYTES)

    def check_shape(self, tensor: InputTensor) -> None:
        """Accepts `[n]`, and `[n, 1]` from clients that put a batch dimension before shape `[1]`."""
        n, *rest = tensor.shape or (0,)
        if rest not in ([], [1]) or not 1 <= n <= self.most:
            raise InvalidRequestError(
                f"input {tensor.name!r}: expected [n] or [n, 1] with n of 1 to {self.most} pictures, "
                f"given {quote(list(tensor.shape))}"
            )

    async def run(
        self, array: NDArray[Any], parameters: dict[str, Any]
    ) -> tuple[list[OutputTensor], Sequence[StageTimes]]:
        """Finds the objects in each picture.

        Raises:
            PictureError: A picture cannot be used, so the request fails; the message has its index.
        """
        wanted = {
            "confidence": _number(parameters, "confidence", "0 to 1"),
            "classes": _classes(parameters),
            "iou": _number(parameters, "iou", "0 to 1"),
            "max_detections": _whole(_number(parameters, "max_detections", "1 or more")),
            "tiles": _text(parameters, "tiles"),
        }
        pictures = array.ravel().tolist()
        self._check_bytes(pictures)
        answers = await all_or_none([self._detect(index, picture, wanted) for index, picture in enumerate(pictures)])
        outputs = _outputs(answers)
        if "angles" in self.outputs:
            outputs += _oriented_outputs(answers)
        if "keypoints" in self.outputs:
            outputs.append(_keypoints_output(answers, self.outputs["keypoints"].shape[2]))
        return outputs, [answer.times for answer in answers]

    def _check_bytes(self, pictures: list[bytes]) -> None:
        limit = self.service.settings.max_picture_bytes
        for index, picture in enumerate(pictures):
            if len(picture) > limit:
                raise PictureTooLargeError(
                    f"picture {index}: it has {len(picture)} bytes, at most {limit} are accepted"
                )

    async def _detect(self, index: int, picture: bytes, wanted: dict[str, Any]) -> Answer:
        try:
            return await self.service.detect(picture, **wanted)
        except PictureError as error:
            raise type(error)(f"picture {index}: {error}") from error


def _outputs(answers: Sequence[Answer]) -> list[OutputTensor]:
    counts = [len(answer.detections) for answer in answers]
    n, k = len(counts), max(counts)
    boxes, confidences = np.zeros((n, k, 4), np.float32), np.zeros((n, k), np.float32)
    class_ids, class_names = np.full((n, k), -1, np.int32), np.full((n, k), b"", object)
    for row, answer in enumerate(answers):
        found, count = answer.detections, counts[row]
        boxes[row, :count] = found.boxes
        confidences[row, :count] = found.confidences
        class_ids[row, :count] = found.class_ids
        class_names[row, :count] = [box.class_name.encode() for box in found]
    return [
        OutputTensor("num_detections", "INT32", np.array(counts, np.int32)),
        OutputTensor("boxes", "FP32", boxes),
        OutputTensor("confidences", "FP32", confidences),
        OutputTensor("class_ids", "INT32", class_ids),
        OutputTensor("class_names", "BYTES", class_names),
    ]


def _oriented_outputs(answers: Sequence[Answer]) -> list[OutputTensor]:
    n, k = len(answers), max(len(answer.detections) for answer in answers)
    angles, corners = np.zeros((n, k), np.float32), np.zeros((n, k, 4, 2), np.float32)
    for row, answer in enumerate(answers):
        found = answer.detections
        if found.oriented is not None:
            angles[row, : len(found)] = found.oriented[:, 4]
            corners[row, : len(found)] = found.corners
    return [OutputTensor("angles", "FP32", angles), OutputTensor("corners", "FP32", corners)]


def _keypoints_output(answers: Sequence[Answer], count: int) -> OutputTensor:
    n, k = len(answers), max(len(answer.detections) for answer in answers)
    keypoints = np.zeros((n, k, count, 3), np.float32)
    for row, answer in enumerate(answers):
        found = answer.detections
        if found.keypoints is not None:  # a picture in tiles without boxes has none
            keypoints[row, : len(found)] = found.keypoints
    return OutputTensor("keypoints", "FP32", keypoints)


def _number(parameters: dict[str, Any], name: str, expected: str) -> float | None:
    value = parameters.get(name)
    if value is None:
        return None
    try:
        return float(value)  # perf_analyzer can send text only
    except (TypeError, ValueError, OverflowError):
        raise InvalidParameterError(f"{name}: expected {expected}, given {quote(value)}") from None


def _whole(number: float | None) -> int | None:
    if number is None:
        return None
    if not number.is_integer():
        raise InvalidParameterError(f"max_detections: expected a whole number, given {number}")
    return int(number)


def _text(parameters: dict[str, Any], name: str) -> str | None:
    value = parameters.get(name)
    return None if value is None else str(value)


def _classes(parameters: dict[str, Any]) -> list[str] | None:
    value = parameters.get("classes")
    return None if value is None else class_names([str(value)])
