"""Parameters: checks what a caller asks for of a detection."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from azaion_engine.errors import InvalidParameterError, quote


def check_confidence(confidence: float | None) -> None:
    """Refuses a confidence outside 0…1.

    Raises:
        InvalidParameterError: The message states the value.
    """
    if confidence is not None and not 0 <= confidence <= 1:
        raise InvalidParameterError(f"confidence: expected 0 to 1, given {confidence}")


def check_suppression(iou: float | None, max_detections: int | None) -> None:
    """Refuses an IoU outside 0…1 and a number of boxes below 1.

    Raises:
        InvalidParameterError: The message states the value.
    """
    if iou is not None and not 0 <= iou <= 1:
        raise InvalidParameterError(f"iou: expected 0 to 1, given {iou}")
    if max_detections is not None and max_detections < 1:
        raise InvalidParameterError(f"max_detections: expected 1 or more, given {max_detections}")


def class_ids(classes: Collection[int | str] | int | str, names: Mapping[int, str]) -> set[int]:
    """Resolves class ids or names (case-insensitive) to ids.

    Args:
        classes: What the caller gave; a single id or name is one class.
        names: Class names by id; empty if the model names none, which then takes any id.

    Raises:
        InvalidParameterError: There is no such class; the message lists those that there are.
    """
    by_name = {name.casefold(): class_id for class_id, name in names.items()}
    ids = set()
    for given in (classes,) if isinstance(classes, (str, int)) else classes:
        text = str(given).strip()
        if text.isdecimal() and len(text) <= 9 and (not names or int(text) in names):
            ids.add(int(text))
        elif text.casefold() in by_name:
            ids.add(by_name[text.casefold()])
        else:
            known = ", ".join(f"{i} {n}" for i, n in sorted(names.items())) or "ids only, it names none"
            raise InvalidParameterError(f"classes: the model has no class {quote(text)}; it has {known}")
    return ids
