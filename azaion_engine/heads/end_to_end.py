"""End-to-end head: `[batch, n, 6]` rows of x1, y1, x2, y2, confidence, class, in pixels of the network input."""

from __future__ import annotations

from collections.abc import Sequence

from azaion_engine.errors import ModelError
from azaion_engine.heads.base import Head, Outputs, Rows, Selection

COLUMNS = 6


class EndToEndHead(Head):
    """Rows that the network has selected itself: as Ultralytics exports YOLO26 and YOLOv10, or others with `nms=True`.

    Further columns (masks, keypoints) are ignored.
    """

    name = "rows"

    def __init__(self, output: str = "output0") -> None:
        """Describes the output of this name."""
        super().__init__([output])

    def rows(self, outputs: Outputs, size: tuple[int, int], selections: Sequence[Selection]) -> list[Rows]:
        """Returns the rows as they are: which of them count is decided where the boxes are made."""
        values = outputs[self.outputs[0]]
        check_detection_shape(values.shape, self.outputs[0])
        return list(values if values.shape[2] == COLUMNS else values[:, :, :COLUMNS])


def check_detection_shape(shape: tuple[int | str | None, ...], output: str) -> None:
    """Refuses an output that cannot be rows.

    Args:
        shape: Its dimensions; a string, None or -1 stands for a dynamic one.
        output: Its name, for the message.

    Raises:
        ModelError: It is not `[batch, n, 6]`, nor has more columns than 6.
    """
    given = [d if isinstance(d, int) and d >= 0 else (d if isinstance(d, str) else "?") for d in shape]
    rows_dynamic = len(shape) == 3 and not (isinstance(shape[2], int) and shape[2] >= 0)
    if len(shape) != 3 or not (rows_dynamic or (isinstance(shape[2], int) and shape[2] >= COLUMNS)):
        raise ModelError(f"output {output!r} is {given}, expected [batch, n, 6]")
