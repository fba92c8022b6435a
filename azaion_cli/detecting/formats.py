"""Format: the formats of results, by the names that the command line knows."""

from __future__ import annotations

from typing import Literal

Format = Literal["jsonl", "csv", "yolo", "coco", "geojson"]
