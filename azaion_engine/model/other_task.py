"""Other tasks: names a model that classifies or segments pictures and has no boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_TASKS = {
    "classify": "a classifier, one name for a whole picture",
    "semantic": "a semantic segmentation model, a class for each pixel",
    "depth": "a depth model, a distance for each pixel",
}
"""Ultralytics' tasks without boxes, by the `task` in the metadata of its exports (docs.ultralytics.com/tasks)."""

_NO_BOXES = "; it has no boxes, a detector is needed"

_MAX_COLUMNS = 7
"""Most columns of a box's row, as YOLOv7 exports it: picture, x1, y1, x2, y2, class, confidence."""

_COARSEST_MAP = 8
"""Largest stride, in pixels, of a map whose only output is a map; DeepLab's and SegFormer's are 1, 4 and 8."""


def other_task(picture: tuple[int, ...], outputs: Sequence[tuple[int, ...]], metadata: Mapping[str, str]) -> str:
    """Tells what a model without boxes does instead of detecting.

    Args:
        picture: Shape of the input, `[batch, 3, height, width]`; -1 for dynamic sizes.
        outputs: Shapes of all outputs, likewise; empty for one that the model does not state.
        metadata: The model's `metadata_props`.

    Returns:
        What the model is, for an error message; empty if it may be a detector.
    """
    if task := _TASKS.get(metadata.get("task", "")):
        return f"{task} (task: {metadata['task']} in its metadata){_NO_BOXES}"
    shapes = " and ".join(f"[{', '.join('?' if size < 0 else str(size) for size in shape)}]" for shape in outputs)
    if _is_classifier(picture, outputs):
        return f"a classifier, one row of scores for a picture ({shapes}){_NO_BOXES}"
    if _gives_maps(picture, outputs):
        return f"a segmentation model, a map of the picture ({shapes}){_NO_BOXES}"
    return ""


def _is_classifier(picture: tuple[int, ...], outputs: Sequence[tuple[int, ...]]) -> bool:
    if len(outputs) != 1:
        return False
    [shape] = outputs
    if len(shape) == 4:
        return shape[2:] == (1, 1)
    # [n, 6] may be n boxes; that n is the number of pictures is certain only where both are fixed.
    return len(shape) == 2 and (shape[1] > _MAX_COLUMNS or shape[0] == picture[0] > 0)


def _gives_maps(picture: tuple[int, ...], outputs: Sequence[tuple[int, ...]]) -> bool:
    if len({shape[-2:] for shape in outputs}) != 1 or any(len(shape) not in (3, 4) for shape in outputs):
        return False  # a detector's raw maps differ in size
    size, map_size = picture[2:], outputs[0][-2:]
    if size == map_size and min(size) > 0:
        return True
    if len(outputs) > 1 or len(outputs[0]) == 3:
        return False
    if min(size) < 0 or min(map_size) < 0:
        return max(size) < 0 and max(map_size) < 0
    stride = size[0] // map_size[0]
    return 1 <= stride <= _COARSEST_MAP and size == (map_size[0] * stride, map_size[1] * stride)
