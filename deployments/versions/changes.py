"""Changes: how the answers of a new version differ in kind from those of the serving one."""

from __future__ import annotations

from collections.abc import Iterable

from azaion_engine.detector import Detector
from deployments.errors import VersionRefusedError

_NAMED = 5
"""Classes that are named at most."""


def changes_of(before: Detector, after: Detector) -> str:
    """Returns in words which classes a new version lacks, adds or numbers anew, and whether its input has another size.

    Empty if all is the same.

    Args:
        before: The serving version.
        after: The new one.

    Raises:
        VersionRefusedError: Its boxes are of another kind, which clients of this model do not know.
    """
    kinds = _kind(before), _kind(after)
    if kinds[0] != kinds[1]:
        raise VersionRefusedError(
            f"it finds {kinds[1]}, and the serving version {kinds[0]}: serve it as another model, under another name"
        )
    old = {name: class_id for class_id, name in before.names.items()}
    new = {name: class_id for class_id, name in after.names.items()}
    sizes = [_size(each) for each in (before, after)]
    moved = [f"{name} is {new[name]}, not {old[name]}" for name in old if name in new and old[name] != new[name]]
    parts = [
        _listed("classes that are gone", (name for name in old if name not in new)),
        _listed("new classes", (name for name in new if name not in old)),
        _listed("other class ids", moved),
        _listed("another input for raw tensors", [] if sizes[0] == sizes[1] else [f"{sizes[1]}, not {sizes[0]}"]),
    ]
    return "; ".join(part for part in parts if part)


def _kind(detector: Detector) -> str:
    head = detector.engine.choice.head
    if head.oriented:
        return "oriented boxes"
    return f"boxes with {head.keypoints.count} keypoints" if head.keypoints is not None else "plain boxes"


def _size(detector: Detector) -> str:
    height, width = detector.engine.get_input_shape()
    return f"{height}x{width}"


def _listed(what: str, names: Iterable[str]) -> str:
    found = list(names)
    if not found:
        return ""
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f"{what}: {', '.join(found[:_NAMED])}{more}"
