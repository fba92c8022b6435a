"""End-to-end head: `[batch, n, 6]` rows of x1, y1, x2, y2, confidence, class, in pixels of the network input."""

from __future__ import annotations

from azaion_engine.errors import ModelError

EXPORT_HINT = (
    "export it end to end so that it gives [batch, n, 6] rows of x1, y1, x2, y2, confidence, class "
    "(YOLO10/YOLO26: `yolo export format=onnx end2end=True`; "
    "others: `yolo export format=onnx nms=True dynamic=True batch=16`)"
)


def check_detection_shape(shape: tuple[int | str | None, ...], output: str) -> None:
    """Refuses a model output that cannot be `[batch, n, 6]`.

    Args:
        shape: Dimensions of the first output; a string, None or -1 stands for a dynamic one.
        output: Name of the output, for the message.

    Raises:
        ModelError: The shape is another one; the message has that shape and how to export the model.
    """
    given = [d if isinstance(d, int) and d >= 0 else (d if isinstance(d, str) else "?") for d in shape]
    rows_dynamic = len(shape) == 3 and not (isinstance(shape[2], int) and shape[2] >= 0)
    if len(shape) != 3 or (shape[2] != 6 and not rows_dynamic):
        raise ModelError(f"output {output!r} is {given}, expected [batch, n, 6]: {EXPORT_HINT}")
