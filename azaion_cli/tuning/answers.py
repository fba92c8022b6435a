"""Answers: whether an answer of `/detect` has the same boxes as the first one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

CORNERS = ("x1", "y1", "x2", "y2")
SHARE_OF_PICTURE = 0.002
"""Tolerance of a corner, as a share of the picture's larger side; at least one pixel. Batches differ in last bits."""
CONFIDENCE = 0.005
"""Boxes this little above the service's threshold may be missing, and others may come: last bits decide."""
KNOWN = 1024
"""Most different texts of right answers that are remembered."""

Box = Mapping[str, Any]


class Answers:
    """Compares answers with the first one; the order of boxes does not matter.

    Equal texts are recognised without parsing, which makes the check cheap for a load generator.
    """

    def __init__(self, first: bytes, threshold: float = 0.0) -> None:
        """Reads the first answer.

        Args:
            first: Body of a right answer, JSON.
            threshold: Confidence from which on the service answers boxes, 0…1.

        Raises:
            ValueError: It is not JSON, or has no boxes.
        """
        answer = _parse(first)
        self._boxes: list[Box] = answer["boxes"]
        size = answer.get("picture") or {}
        self._pixels = max(1.0, SHARE_OF_PICTURE * max(size.get("width", 0), size.get("height", 0)))
        self._firm = threshold + CONFIDENCE
        self._right = {_boxes_text(first)}

    def fault(self, body: bytes) -> str:
        """Returns what is wrong with an answer; empty if it is right."""
        text = _boxes_text(body)
        if text in self._right:
            return ""
        try:
            boxes: list[Box] = _parse(body)["boxes"]
        except ValueError as error:
            return str(error)
        for have, other, word in ((self._boxes, boxes, "missing"), (boxes, self._boxes, "unexpected")):
            lonely = self._without_partner(have, other)
            if lonely is not None:
                return f"{len(boxes)} boxes instead of {len(self._boxes)}, {word}: {json.dumps(lonely)}"
        if len(self._right) < KNOWN:
            self._right.add(text)
        return ""

    def _without_partner(self, boxes: list[Box], others: list[Box]) -> Box | None:
        """Returns the first firm box that none of the others is like; each counts once."""
        left = list(others)
        for box in boxes:
            partner = next((other for other in left if self._alike(box, other)), None)
            if partner is not None:
                left.remove(partner)
            elif box["confidence"] >= self._firm:
                return box
        return None

    def _alike(self, box: Box, other: Box) -> bool:
        return box["class_id"] == other["class_id"] and all(
            abs(box[corner] - other[corner]) <= self._pixels for corner in CORNERS
        )


def _parse(body: bytes) -> dict[str, Any]:
    """Parses an answer.

    Raises:
        ValueError: It is not JSON, or has no boxes.
    """
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise ValueError(f"not JSON: {body[:100]!r}") from error
    if not isinstance(answer, dict) or not isinstance(answer.get("boxes"), list):
        raise ValueError(f"no boxes in {body[:100]!r}")
    return answer


def _boxes_text(body: bytes) -> bytes:
    """Returns the part of an answer that holds its boxes; the times after it differ in every answer."""
    begin = body.find(b'"boxes"')
    return body[begin : body.find(b'"timing_ms"', begin)]
