"""Reader: finds out the format of a data set and reads it."""

from __future__ import annotations

from pathlib import Path

from azaion_engine.errors import InvalidParameterError
from azaion_engine.evaluation.coco import read_coco
from azaion_engine.evaluation.data_set import DataSet
from azaion_engine.evaluation.yolo import read_yolo_file, read_yolo_folder, split_names

_EXPECTED = (
    "expected YOLO labels (a data.yaml, or images/ and labels/) or COCO annotations (a .json file, in the folder, in "
    "annotations/ or in the folder of the split)"
)


def read_data_set(
    path: Path, *, split: str | None = None, limit: int | None = None, pictures: Path | None = None
) -> DataSet:
    """Reads the labels of a data set; its pictures are not opened yet.

    Args:
        path: A folder, the `data.yaml` of YOLO labels, or the .json file of COCO annotations. In a folder, YOLO labels
            go before COCO annotations.
        split: Part to read; default: `val` where there are parts.
        limit: Number of pictures to read, the first ones; None reads all.
        pictures: Folder of the pictures of COCO annotations; default: looked for beside them.

    Raises:
        InvalidParameterError: The data set cannot be read; the message says what was expected.
    """
    if path.is_file():
        file, suffix = path, path.suffix.lower()
    elif path.is_dir():
        described = _yaml_in(path)
        file, suffix = (described, ".yaml") if described else (path, "")
    else:
        raise InvalidParameterError(f"no such file or folder: {str(path)!r}; {_EXPECTED}")
    if suffix in (".yaml", ".yml"):
        _refuse_pictures(pictures)
        return read_yolo_file(file, split, limit)
    if suffix == ".json":
        if split is not None:
            raise InvalidParameterError(f"{path}: a COCO file is one part: leave out the split, given {split!r}")
        return read_coco(path, folders=_picture_folders(path, path.parent, pictures), limit=limit)
    if suffix:
        raise InvalidParameterError(f"{path}: {_EXPECTED}")
    if _has_yolo_labels(path, split):
        _refuse_pictures(pictures)
        return read_yolo_folder(path, split, limit)
    annotations = _annotations_in(path, split)
    if annotations is None and any(path.glob("*.txt")):  # beside their pictures
        _refuse_pictures(pictures)
        return read_yolo_folder(path, split, limit)
    if annotations is None:
        raise InvalidParameterError(f"{path}: {_EXPECTED}")
    folders = _picture_folders(annotations, path, pictures)
    return read_coco(annotations, split=split or "", folders=folders, limit=limit, path=annotations)


def _refuse_pictures(pictures: Path | None) -> None:
    if pictures is not None:
        raise InvalidParameterError(
            f"pictures: a folder of pictures is for COCO annotations, given {str(pictures)!r} and YOLO labels"
        )


def _yaml_in(folder: Path) -> Path | None:
    """Returns the description of a YOLO data set: data.yaml, or the only .yaml file."""
    if (folder / "data.yaml").is_file():
        return folder / "data.yaml"
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".yaml", ".yml") and path.is_file())
    if len(files) > 1:
        raise InvalidParameterError(f"{folder}: several .yaml files ({_list(files)}): name one of them")
    return files[0] if files else None


def _has_yolo_labels(folder: Path, split: str | None) -> bool:
    return (folder / "labels").is_dir() or any((folder / name / "labels").is_dir() for name in split_names(split))


def _annotations_in(folder: Path, split: str | None) -> Path | None:
    """Returns the annotations file of a split; raises InvalidParameterError if several fit."""
    names = split_names(split)
    parts = [part for name in names for part in sorted((folder / name).glob("*.json"))]
    whole = sorted([*(folder / "annotations").glob("*.json"), *folder.glob("*.json")])
    of_split = parts or [file for file in whole if any(name in file.stem.lower() for name in names)]
    if split is None and not of_split:
        of_split = whole
    # Beside the boxes, COCO has captions and keypoints of the same split.
    fitting = [file for file in of_split if file.stem.startswith("instances")] or of_split
    if len(fitting) > 1:
        raise InvalidParameterError(f"{folder}: several annotations files ({_list(fitting)}): name one of them")
    if whole and not fitting:
        raise InvalidParameterError(f"{folder}: no annotations of split {split!r}; there are: {_list(whole)}")
    return fitting[0] if fitting else None


def _picture_folders(annotations: Path, folder: Path, given: Path | None) -> list[Path]:
    """Returns where the pictures of an annotations file may be, the likeliest first."""
    if given is not None:
        return [given]
    part = annotations.stem.rpartition("_")[2]  # instances_val2017.json belongs to val2017/
    roots = list(dict.fromkeys([annotations.parent, folder, annotations.parent.parent]))
    return [root / inside for root in roots for inside in ("", part, "images", f"images/{part}")]


def _list(files: list[Path]) -> str:
    return ", ".join(file.name for file in files[:10]) + (" …" if len(files) > 10 else "")
