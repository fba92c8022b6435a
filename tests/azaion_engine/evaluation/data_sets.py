"""Small data sets: the same labels as YOLO and as COCO, and detections without a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from azaion_engine.results.detections import Detections

WIDTH, HEIGHT = 200, 100
NAMES = {0: "car", 1: "truck"}

Boxes = Sequence[tuple[float, ...]]
"""Rows of class, x1, y1, x2, y2 in pixels; a sixth value is `iscrowd`."""


def write_picture(path: Path, width: int = WIDTH, height: int = HEIGHT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (90, 120, 60)).save(path)


def write_yolo(folder: Path, pictures: Mapping[str, Boxes | str | None], names: Mapping[int, str] = NAMES) -> Path:
    """Writes a data set; a text is the labels file itself, None leaves it out. Returns its data.yaml."""
    for name, boxes in pictures.items():
        write_picture(folder / "images/val" / name)
        if boxes is None:
            continue
        text = boxes if isinstance(boxes, str) else "".join(map(yolo_row, boxes))
        file = (folder / "labels/val" / name).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "data.yaml").write_text(f"path: .\nval: images/val\nnames: {json.dumps(names)}\n")
    return folder / "data.yaml"


def yolo_row(box: Sequence[float]) -> str:
    class_id, x1, y1, x2, y2 = box[:5]
    shares = ((x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT)
    return " ".join(map(str, (int(class_id), *shares))) + "\n"


def coco_document(
    pictures: Mapping[str, Boxes], names: Mapping[int, str] = NAMES, categories: Sequence[int] | None = None
) -> dict[str, Any]:
    """Returns a document; `categories` are the category ids of the classes, default: from 1 on."""
    ids = dict(zip(names, categories or range(1, len(names) + 1), strict=True))
    images = [{"id": 10 + i, "file_name": name, "width": WIDTH, "height": HEIGHT} for i, name in enumerate(pictures)]
    annotations = [
        {
            "id": 1000 * i + j,
            "image_id": 10 + i,
            "category_id": ids[int(box[0])],
            "bbox": [box[1], box[2], box[3] - box[1], box[4] - box[2]],
            "iscrowd": int(box[5]) if len(box) > 5 else 0,
        }
        for i, boxes in enumerate(pictures.values())
        for j, box in enumerate(boxes)
    ]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": ids[class_id], "name": name} for class_id, name in names.items()],
    }


def write_coco(folder: Path, document: Mapping[str, Any], file: str = "annotations/instances_val.json") -> Path:
    """Writes a document and its pictures, into images/. Returns the document's file."""
    for image in document["images"]:
        write_picture(folder / "images" / image["file_name"])
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps(document))
    return folder / file


def found(*rows: tuple[float, ...], width: int = WIDTH, height: int = HEIGHT) -> Detections:
    """Returns detections from rows of class, x1, y1, x2, y2, confidence; most confident first."""
    table = np.array(sorted(rows, key=lambda row: -row[5]), np.float32).reshape(-1, 6)
    return Detections(table[:, 1:5], table[:, 5], table[:, 0].astype(np.int64), width, height, NAMES)
