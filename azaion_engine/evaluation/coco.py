"""COCO annotations: one JSON document for all pictures (cocodataset.org, "Data format")."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from azaion_engine.errors import InvalidParameterError, PictureError
from azaion_engine.evaluation.bounded_file import read_text
from azaion_engine.evaluation.data_set import DataSet, LabelledPicture, Labels, counted

MAX_BYTES = 2 * 2**30
"""Largest annotations file; instances_train2017.json has 0.45 GB."""

_PROBED = 20
"""Pictures that are looked for to find the folder they are in."""


def read_coco(
    file: Path, *, split: str = "", folders: Sequence[Path] = (), limit: int | None = None, path: Path | None = None
) -> DataSet:
    """Reads an annotations file.

    Classes are numbered 0, 1, 2 … in the order of their category ids, which need not be consecutive. A `file_name` may
    be absolute or lead out of the folder: the user chose the file, and pictures are only read.

    Args:
        file: The JSON document, with `images`, `annotations` and `categories`.
        split: Name of the part, for the report.
        folders: Where the pictures may be; the first that has one of them is used. Default: the file's own.
        limit: Number of pictures to read, the first ones; None reads all.
        path: Folder or file that the user named; default: `file`.

    Raises:
        InvalidParameterError: The document is malformed, or its pictures are in none of the folders.
    """
    images, annotations, categories = _parts(file)
    classes, names = _classes(file, categories)
    described = {_key(image, "id", f"{file}: images[{i}]"): image for i, image in enumerate(images)}
    if len(described) != len(images):
        raise InvalidParameterError(f"{file}: two images have the same id")
    if not described:
        raise InvalidParameterError(f"{file}: no pictures")
    for index, image in enumerate(images):
        if not isinstance(image.get("file_name"), str) or not image["file_name"]:
            raise InvalidParameterError(f"{file}: images[{index}]: expected a file_name, given {image!r:.80}")
    of_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    strays, labelled = 0, set()
    for index, annotation in enumerate(annotations):
        image_id = _key(annotation, "image_id", f"{file}: annotations[{index}]")
        if image_id not in described:
            strays += 1
            continue
        of_image[image_id].append(annotation)
        category = annotation.get("category_id")
        if isinstance(category, int) and category in classes:
            labelled.add(classes[category])
    folder = _folder(file, folders or [file.parent], images)
    pictures, flat = [], 0
    for image_id, image in islice(described.items(), limit):
        try:
            labels, without_area = _labels(of_image[image_id], classes, _size(image))
            error, flat = None, flat + without_area
        except PictureError as fault:
            labels, error = Labels.none(), fault
        pictures.append(LabelledPicture(image["file_name"], folder / image["file_name"], labels, error))
    notes = []
    if background := sum(not len(picture.labels.boxes) and picture.error is None for picture in pictures):
        notes.append(f"{counted(background, 'picture')} without annotations: taken as pictures without objects")
    if flat:
        notes.append(f"{counted(flat, 'box', 'boxes')} without area left out")
    if strays:
        notes.append(f"{counted(strays, 'annotation')} of pictures that are not listed left out")
    if crowds := sum(int(picture.labels.crowd.sum()) for picture in pictures):
        notes.append(f"{counted(crowds, 'crowd')} (iscrowd): finding them is neither right nor wrong")
    return DataSet(path or file, "COCO", split, pictures, names, frozenset(names) - labelled, notes)


def _parts(file: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    try:
        document = json.loads(read_text(file, MAX_BYTES))
    except (ValueError, RecursionError) as error:  # a JSONDecodeError is a ValueError
        raise InvalidParameterError(f"{file}: not JSON: {error}") from error
    keys = ("images", "annotations", "categories")
    parts = [document.get(key) if isinstance(document, dict) else None for key in keys]
    for key, part in zip(keys, parts, strict=True):
        if not isinstance(part, list) or not all(isinstance(entry, dict) for entry in part):
            raise InvalidParameterError(
                f"{file}: expected a COCO document with lists of objects `images`, `annotations` and `categories`; "
                f"{key!r} is {'missing' if part is None else 'something else'}"
            )
    images, annotations, categories = parts
    return images, annotations, categories  # type: ignore[return-value]


def _classes(file: Path, categories: Iterable[dict[str, Any]]) -> tuple[dict[int, int], dict[int, str]]:
    """Returns class id by category id, and class name by class id."""
    by_category: dict[int, str] = {}
    for index, category in enumerate(categories):
        number, name = category.get("id"), category.get("name")
        if not isinstance(number, int) or isinstance(number, bool) or not isinstance(name, str) or not name.strip():
            raise InvalidParameterError(
                f"{file}: categories[{index}]: expected a whole id and a name, given {category!r:.80}"
            )
        if number in by_category:
            raise InvalidParameterError(f"{file}: category {number} is named twice")
        by_category[number] = name.strip()
    if not by_category:
        raise InvalidParameterError(f"{file}: no categories")
    classes = {category: class_id for class_id, category in enumerate(sorted(by_category))}
    return classes, {classes[category]: name for category, name in by_category.items()}


def _key(entry: dict[str, Any], name: str, where: str) -> int | str:
    """Returns an id: a whole number, or a text as some tools write."""
    value = entry.get(name)
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return value
    raise InvalidParameterError(f"{where}: {name}: expected a whole number or a text, given {value!r:.80}")


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    if width is None or height is None:
        return None
    if not all(isinstance(side, (int, float)) and side > 0 for side in (width, height)):
        raise PictureError(f"its width and height are above 0, given {width!r:.40} and {height!r:.40}")
    return round(width), round(height)


def _labels(
    annotations: Sequence[dict[str, Any]], classes: dict[int, int], size: tuple[int, int] | None
) -> tuple[Labels, int]:
    """Returns the labels of a picture and the number of boxes without area; raises PictureError."""
    boxes, class_ids, crowd, flat = [], [], [], 0
    for annotation in annotations:
        box, category = annotation.get("bbox"), annotation.get("category_id")
        name = f"annotation {annotation.get('id')!r:.40}"
        if not isinstance(box, list) or len(box) != 4 or not all(_is_number(value) for value in box):
            raise PictureError(f"{name}: bbox: expected [x, y, width, height] in pixels, given {box!r:.80}")
        if not isinstance(category, int) or category not in classes:
            raise PictureError(f"{name}: category_id {category!r:.40} is not among the categories")
        x, y, width, height = box
        if width <= 0 or height <= 0:
            flat += 1
            continue
        boxes.append((x, y, x + width, y + height))
        class_ids.append(classes[category])
        crowd.append(bool(annotation.get("iscrowd")))
    made = np.array(boxes, np.float64).reshape(-1, 4)
    return Labels(made, np.array(class_ids, np.int64), np.array(crowd, np.bool_), size=size), flat


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _folder(file: Path, folders: Sequence[Path], images: Sequence[dict[str, Any]]) -> Path:
    """Returns the first folder that has one of the first pictures."""
    names = [image["file_name"] for image in images[:_PROBED]]
    for folder in folders:
        if any((folder / name).is_file() for name in names):
            return folder
    tried = ", ".join(map(str, folders))
    raise InvalidParameterError(
        f"{file}: its pictures, such as {names[0]!r}, are not in {tried} (name their folder with --pictures)"
    )
