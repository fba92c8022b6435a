"""YOLO data sets: folders of pictures, and a labels file for each picture.

The layout is that of Ultralytics (docs.ultralytics.com/datasets/detect, /segment, /obb, /pose).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from azaion_engine.errors import ConfigurationError, InvalidParameterError, PictureError
from azaion_engine.evaluation.bounded_file import read_text
from azaion_engine.evaluation.data_set import DataSet, LabelledPicture, Labels, counted
from azaion_engine.evaluation.yolo_rows import parse_rows
from azaion_engine.files.sources import PICTURE_SUFFIXES
from azaion_engine.model.labels import read_labels

MAX_LABELS_BYTES = 16 * 2**20
"""Largest labels file of one picture."""

_MAX_YAML_BYTES, _MAX_LIST_BYTES = 4 * 2**20, 256 * 2**20

_VALIDATION = ("val", "valid", "validation")


def split_names(split: str | None) -> tuple[str, ...]:
    """Returns the names that a split goes by, its own first; None stands for `val`."""
    if split is None or split in _VALIDATION:
        return tuple(dict.fromkeys([split or "val", *_VALIDATION]))
    return (split,)


def read_yolo_file(file: Path, split: str | None, limit: int | None) -> DataSet:
    """Reads a data set described by a `data.yaml`.

    `path` is relative to the file's folder, else to the current folder; `train`, `val` and `test` to `path`. Each is a
    folder (with its subfolders), a list of pictures (.txt), or several of them. Paths may be absolute and lie anywhere:
    the user chose the file, and pictures are only read.

    Args:
        file: The .yaml file, with `names`.
        split: `train`, `val` or `test`; default: `val`, else `test`.
        limit: Number of pictures to read, the first ones; None reads all.

    Raises:
        InvalidParameterError: The file is malformed, or has no such split or no pictures.
    """
    values = _yaml(file)
    root = _root(file, values.get("path"))
    given = {key: values[key] for key in ("train", *_VALIDATION, "test") if values.get(key)}
    wanted = (*split_names(split), *(["test"] if split is None else []))
    chosen = next((name for name in wanted if name in given), None)
    if chosen is None:
        known = ", ".join(given) or "none"
        raise InvalidParameterError(f"{file}: no split {split or 'val'!r}; it has: {known} (choose one with --split)")
    entries = given[chosen] if isinstance(given[chosen], list) else [given[chosen]]
    if not all(isinstance(entry, str) for entry in entries):
        raise InvalidParameterError(f"{file}: {chosen}: expected a path or a list of paths, given {given[chosen]!r}")
    pictures = [picture for entry in entries for picture in _pictures_of(file, root, chosen, entry)]
    names = {}
    if "names" in values:
        try:
            names = read_labels(file)
        except ConfigurationError as error:
            raise InvalidParameterError(str(error)) from error
    return _read(file, chosen, pictures, root, names, limit, _keypoint_columns(file, values.get("kpt_shape")))


def read_yolo_folder(folder: Path, split: str | None, limit: int | None) -> DataSet:
    """Reads pictures and their labels from a folder without a `data.yaml`.

    The pictures are in `images/`, the labels in `labels/` under the same names; with splits in `images/<split>` and
    `labels/<split>`, or in `<split>/images` and `<split>/labels`. Without `images/` each labels file lies beside its
    picture. `classes.txt`, one name a line, names the classes.

    Args:
        folder: The data set.
        split: Name of the part; default: `val` if there is one, else everything.
        limit: Number of pictures to read, the first ones; None reads all.

    Raises:
        InvalidParameterError: There is no such split, or there are no pictures.
    """
    places = [place for name in split_names(split) for place in (folder / "images" / name, folder / name / "images")]
    found = next((place for place in places if place.is_dir()), None)
    if found is None and split is not None:
        raise InvalidParameterError(
            f"{folder}: no split {split!r}: neither {folder / 'images' / split} nor {folder / split / 'images'} exists"
        )
    chosen = "" if found is None else (found.name if found.name != "images" else found.parent.name)
    pictures = found or (folder / "images" if (folder / "images").is_dir() else folder)
    named = next((path for path in (folder / "classes.txt", folder / "labels/classes.txt") if path.is_file()), None)
    try:
        classes = read_labels(named) if named else {}
    except ConfigurationError as error:
        raise InvalidParameterError(str(error)) from error
    return _read(folder, chosen, _in_folder(pictures), folder, classes, limit, None)


def labels_file_of(picture: Path) -> Path:
    """Returns the labels file of a picture: the last folder `images` of its path becomes `labels`, the suffix .txt."""
    parts = list(picture.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _read(
    path: Path,
    split: str,
    files: Sequence[Path],
    root: Path,
    names: dict[int, str],
    limit: int | None,
    keypoint_columns: int | None,
) -> DataSet:
    files = list(dict.fromkeys(files))
    if not files:
        raise InvalidParameterError(f"{path}: no pictures" + (f" in split {split!r}" if split else ""))
    pictures: list[LabelledPicture] = []
    rows: Counter[str] = Counter()
    background = 0
    for file in islice(files, limit):
        labels_file = labels_file_of(file)
        labels, error = Labels.none(), None
        if labels_file.exists():
            try:
                text = read_text(labels_file, MAX_LABELS_BYTES)
                labels, kinds = parse_rows(text, str(labels_file), names or None, keypoint_columns)
                rows += kinds
            except InvalidParameterError as fault:
                error = PictureError(str(fault))
        else:
            background += 1
        name = str(file.relative_to(root)) if file.is_relative_to(root) else str(file)
        pictures.append(LabelledPicture(name, file, labels, error))
    if background == len(pictures):
        raise InvalidParameterError(
            f"{path}: none of {counted(background, 'picture')} has a labels file; the first would be "
            f"{labels_file_of(files[0])}"
        )
    return DataSet(path, "YOLO", split, pictures, names, notes=list(_notes(rows, background)))


def _notes(rows: Counter[str], background: int) -> Iterator[str]:
    if count := rows["polygon"]:
        yield f"{counted(count, 'polygon')} of segmentation labels: the upright boxes around them are used"
    if count := rows["oriented box"]:
        yield (
            f"{counted(count, 'row')} of 9 columns (oriented boxes, or polygons of four points): the upright boxes "
            f"around them are used"
        )
    if count := rows["keypoints"]:
        yield f"{counted(count, 'row')} with keypoints: their boxes alone are used"
    if count := rows["no area"]:
        yield f"{counted(count, 'box', 'boxes')} without area left out"
    if background:
        yield f"{counted(background, 'picture')} without a labels file: taken as pictures without objects"


def _yaml(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(read_text(file, _MAX_YAML_BYTES))
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: an impossible date
        raise InvalidParameterError(f"{file}: not YAML: {error}") from error
    if not isinstance(values, dict):
        raise InvalidParameterError(f"{file}: expected `names:` and `val:`, given {type(values).__name__}")
    return values


def _root(file: Path, given: object) -> Path:
    """Returns the folder that the splits are relative to."""
    if given is None or given == "":
        return file.parent
    if not isinstance(given, str):
        raise InvalidParameterError(f"{file}: path: expected a folder, given {given!r}")
    at_home = os.path.expanduser(given)
    tried = list(dict.fromkeys([file.parent / at_home, Path(at_home).absolute()]))
    found = next((path for path in tried if path.is_dir()), None)
    if found is None:
        raise InvalidParameterError(f"{file}: path: no such folder: {' or '.join(map(str, tried))}")
    return found


def _keypoint_columns(file: Path, shape: object) -> int | None:
    if shape is None:
        return None
    if isinstance(shape, list) and len(shape) == 2 and all(isinstance(n, int) and n > 0 for n in shape):
        return int(shape[0] * shape[1])
    raise InvalidParameterError(f"{file}: kpt_shape: expected [number of keypoints, 2 or 3], given {shape!r}")


def _pictures_of(file: Path, root: Path, split: str, entry: str) -> list[Path]:
    """Returns the pictures of one entry of a split."""
    place = root / os.path.expanduser(entry)
    if not place.exists() and entry.startswith("../"):
        place = root / entry[3:]  # Roboflow's exports write `../valid/images` for a folder beside the file
    if place.is_dir():
        return _in_folder(place)
    if place.suffix.lower() == ".txt" and place.is_file():
        lines = [line.strip() for line in read_text(place, _MAX_LIST_BYTES).splitlines() if line.strip()]
        return [_listed(line, place.parent, root) for line in lines]
    raise InvalidParameterError(f"{file}: {split}: no folder of pictures and no list (.txt) at {place}")


def _listed(line: str, beside: Path, root: Path) -> Path:
    found = (path for path in (beside / line, root / line) if path.is_file())
    return next(found, beside / line)


def _in_folder(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file())
