"""Unread: outputs before their decoding, which no head reads; named, so that the refusal says what to change."""

from __future__ import annotations

from azaion_engine.heads.base import TensorInfo
from azaion_engine.heads.recognition.evidence import Evidence, shape_in_words

_ADVICE = (
    "decode and suppress within the export, so that an output has rows of x1, y1, x2, y2, confidence, class in pixels "
    "of the network input"
)


def is_part(evidence: Evidence, tensor: TensorInfo) -> bool:
    """Whether an output is only a part of what is known of each candidate: another one has as many candidates.

    Scores and distances apart, as NanoDet, FCOS and EfficientDet give them, must not be taken for a head whose output
    has both. Metadata of Ultralytics' kind says what the outputs are, so theirs are never parts.
    """
    return not evidence.of_yolo and any(_agree(tensor, other) for other in evidence.tensors if other is not tensor)


def refusal_of(evidence: Evidence) -> str:
    """Returns the message for outputs of a family that no head reads; empty for others."""
    if words := _of_maps(evidence):
        return f"{evidence.outputs_in_words()}: {words}; no value of the key `head` reads them; {_ADVICE}"
    if any(is_part(evidence, tensor) for tensor in evidence.tensors):
        return (
            f"{evidence.outputs_in_words()}: scores and distances or offsets apart, before decoding, as EfficientDet, "
            f"NanoDet and FCOS give them; {_ADVICE}; or set the key `head` if one output has boxes and scores together"
        )
    for tensor in evidence.tensors:
        _, p, q = tensor.shape
        if 5 <= p < 4 + evidence.classes and q in evidence.anchors:
            return (
                f"output {tensor.name!r} is {shape_in_words(tensor.shape)}: {p - 4} classes at most, but the metadata "
                f"names class {evidence.classes - 1}; ids begin with 0"
            )
    return ""


def _of_maps(evidence: Evidence) -> str:
    shapes = [tensor.shape for tensor in evidence.signature.outputs]
    if len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][1] == 1 and shapes[0][3] == 7:
        return "rows of picture, class, confidence and corners in 0..1, as OpenVINO's DetectionOutput gives them"
    if not shapes or any(len(shape) not in (4, 5) for shape in shapes):
        return ""
    sizes = {shape[2:] for shape in shapes}
    if len(sizes) == 1 and len(shapes) > 1 and any(shape[1] == 2 for shape in shapes):
        return "maps of centres, sizes and offsets before decoding, as CenterNet gives them"
    if len(shapes) > 1:
        return "maps before decoding, as EfficientDet, RetinaNet and YOLO without its last layer give them"
    return ""


def _agree(one: TensorInfo, other: TensorInfo) -> bool:
    """Whether two outputs of different shape have a number of candidates in common."""
    if one.shape == other.shape:
        return False
    (_, p, q), (_, r, s) = one.shape, other.shape
    return p == r > 0 or (q == s > 0 and q > p and s > r)
