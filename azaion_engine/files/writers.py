"""Writers: detections as JSON lines, CSV, YOLO txt or COCO JSON; oriented boxes with corners, poses with keypoints.

A writer gets the detections one picture at a time, in the order of the sources, and writes to a text stream that
`SafeOutput` opens and that is on the disk under its own name only after `finish`; it opens no file itself. A writer of
one file a picture takes their names from `FileNames`, which also plans them before the run.
"""

from __future__ import annotations

import csv
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path, PurePath
from typing import Any, TextIO

from azaion_engine.files.names import needs_ascii, printable
from azaion_engine.files.safe_output import SafeOutput
from azaion_engine.files.sources import Item, Source
from azaion_engine.results.detections import Detections
from azaion_engine.results.drawing import VISIBLE


class Writer(ABC):
    """Base class: writes the detections of one picture at a time."""

    @abstractmethod
    def write(self, item: Item, found: Detections) -> None:
        """Writes the boxes of one picture."""

    def finish(self) -> None:  # noqa: B027 (most writers need no end)
        """Writes what needs all pictures; called once, at the end."""


class JsonLines(Writer):
    """One JSON object per picture; its boxes are as in the HTTP service's answers."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, item: Item, found: Detections) -> None:
        """Writes one line."""
        line: dict[str, Any] = {"source": printable(item.source)}
        if item.clock_s is not None:
            when = datetime.fromtimestamp(item.clock_s, timezone.utc).isoformat(timespec="milliseconds")
            line |= {"stream": item.stream, "time": when.replace("+00:00", "Z")}
        if item.frame is not None:
            line |= {"frame": item.frame, "time_s": item.time_s}
        line["picture"] = {"width": found.picture_width, "height": found.picture_height}
        line["boxes"] = found.to_dicts()
        print(json.dumps(line, ensure_ascii=needs_ascii(self._stream)), file=self._stream, flush=True)


class Csv(Writer):
    """One row per box; none for a picture without boxes."""

    COLUMNS = ("source", "frame", "x1", "y1", "x2", "y2", "confidence", "class_id", "class_name")
    ORIENTED = ("angle", *(f"{axis}_corner_{corner}" for corner in (1, 2, 3, 4) for axis in "xy"))
    """Further columns of a model for oriented boxes."""
    KEYPOINT = ("x", "y", "visibility")
    """Further columns of a pose model for each of its keypoints, from 1 on: `x_keypoint_1`, …"""
    TRACKED = ("track_id",)
    """Further column with tracking; empty while an object has no id."""

    def __init__(self, stream: TextIO, oriented: bool = False, tracked: bool = False, keypoints: int = 0) -> None:
        """Writes the header.

        Args:
            stream: Takes the rows.
            oriented: Whether the boxes have angles and corners.
            tracked: Whether the boxes have track ids.
            keypoints: Number of keypoints of each box.
        """
        self._points = tuple(f"{name}_keypoint_{i}" for i in range(1, keypoints + 1) for name in self.KEYPOINT)
        columns = self.COLUMNS + self.ORIENTED * oriented + self._points + self.TRACKED * tracked
        self._rows = csv.DictWriter(stream, columns, lineterminator="\n")
        self._rows.writeheader()

    def write(self, item: Item, found: Detections) -> None:
        """Writes the rows of one picture."""
        for box in found.to_dicts():
            if corners := box.pop("corners", None):
                box |= zip(self.ORIENTED[1:], [value for corner in corners for value in corner], strict=True)
            if points := box.pop("keypoints", None):
                box |= zip(self._points, [value for point in points for value in point], strict=True)
            self._rows.writerow({"source": printable(item.source), "frame": item.frame, **box})


class Yolo(Writer):
    """One .txt per picture: class, box, confidence; coordinates are fractions of the picture's size.

    An upright box is its centre x and y, width and height; an oriented one its corners x1, y1 … x4, y4, as in
    Ultralytics' labels for oriented boxes; they may lie outside the picture. The keypoints of a pose follow its box: x,
    y and visibility 0…1 of each, as Ultralytics' `save_txt` writes them.
    """

    def __init__(self, folder: Path, output: SafeOutput | None = None) -> None:
        """Creates no files.

        Args:
            folder: Folder of the files; created when needed.
            output: Writes them; default: one that replaces nothing.
        """
        self._names = FileNames(folder, ".txt")
        self._output = output or SafeOutput()

    def write(self, item: Item, found: Detections) -> None:
        """Writes the file of one picture; without boxes it is empty, which means background in YOLO."""
        width, height = found.picture_width, found.picture_height
        lines = []
        for box in found:
            place = [*((box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2), *(box.x2 - box.x1, box.y2 - box.y1)]
            if box.corners:
                place = [value for corner in box.corners for value in corner]
            shares = " ".join(f"{value / (width, height)[i % 2]:.6f}" for i, value in enumerate(place))
            for x, y, visibility in box.keypoints or ():
                shares += f" {x / width:.6f} {y / height:.6f} {visibility:.4f}"
            lines.append(f"{box.class_id} {shares} {box.confidence:.4f}\n")
        self._output.write_soon(self._names.path_for(item), "".join(lines).encode())

    def finish(self) -> None:
        """Waits until all files are on the disk."""
        self._output.settle()


class Coco(Writer):
    """One JSON document in COCO data set format, with a `score` per annotation (cocodataset.org, "Data format").

    The `segmentation` of an oriented box is the polygon of its corners, `area` that of the polygon; `bbox` is upright.
    Keypoints have the format's flags: 2 (visible) from a visibility of `VISIBLE` on, 1 (not visible) below it; the
    model file does not name them, so the categories number them.
    """

    def __init__(self, stream: TextIO, names: Mapping[int, str]) -> None:
        self._stream = stream
        self._names = dict(names)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._keypoints = 0

    def write(self, item: Item, found: Detections) -> None:
        """Collects the boxes of one picture."""
        image = len(self._images) + 1
        size = {"width": found.picture_width, "height": found.picture_height}
        self._images.append({"id": image, "file_name": printable(item.name), **size})
        tracks = [-1] * len(found) if found.track_ids is None else found.track_ids.tolist()
        for index, box in enumerate(found):
            self._names.setdefault(box.class_id, box.class_name)
            width, height = box.x2 - box.x1, box.y2 - box.y1
            annotation = {
                "id": len(self._annotations) + 1,
                "image_id": image,
                "category_id": box.class_id,
                "bbox": [round(value, 2) for value in (box.x1, box.y1, width, height)],
                "area": round(width * height, 2),
                "iscrowd": 0,
                "score": round(box.confidence, 4),
            }
            if box.corners:
                first, second, third, _ = box.corners
                annotation["area"] = round(math.dist(first, second) * math.dist(second, third), 2)
                annotation["segmentation"] = [[round(value, 2) for corner in box.corners for value in corner]]
            if box.keypoints:
                self._keypoints = len(box.keypoints)
                points = [(round(x, 2), round(y, 2), 2 if seen >= VISIBLE else 1) for x, y, seen in box.keypoints]
                annotation["keypoints"] = [value for point in points for value in point]
                annotation["num_keypoints"] = len(points)
            if (track := tracks[index]) >= 0:
                annotation["track_id"] = track
            self._annotations.append(annotation)

    def finish(self) -> None:
        """Writes the document."""
        categories: list[dict[str, Any]] = [
            {"id": class_id, "name": name} for class_id, name in sorted(self._names.items())
        ]
        if self._keypoints:
            numbered = [f"keypoint_{number}" for number in range(1, self._keypoints + 1)]
            categories = [{**category, "keypoints": numbered, "skeleton": []} for category in categories]
        document = {"images": self._images, "annotations": self._annotations, "categories": categories}
        json.dump(document, self._stream, ensure_ascii=needs_ascii(self._stream))
        self._stream.write("\n")


class FileNames:
    """Gives each picture its own file in a folder, with the subfolders of the sources."""

    def __init__(self, folder: Path, suffix: str) -> None:
        """Creates no files.

        Args:
            folder: Folder of the files; created when needed.
            suffix: Suffix of every file, such as `.txt`.
        """
        self._folder = folder
        self._suffix = suffix
        self._taken: set[PurePath] = set()

    def path_for(self, item: Item) -> Path:
        """Returns a path that no earlier picture has: a.jpg and a.png become a.txt and a_2.txt."""
        return self._folder / f"{self._take(item.name)}{self._suffix}"

    def plan(self, sources: list[Source], output: SafeOutput) -> None:
        """Checks, before the run, the files of all pictures of these sources.

        Raises:
            InvalidParameterError: One is an input, exists already, or is another output.
            OSError: The folder cannot be written to.
        """
        planned = FileNames(self._folder, self._suffix)
        videos = [source for source in sources if source.is_video]
        names = [planned._take(one.name) for one in sources if not (one.is_video or one.unreadable)]
        starts = [str(PurePath(source.frame_name(0)).with_suffix(""))[: -len("_000000")] for source in videos]
        output.plan_in(
            self._folder,
            [f"{name}{self._suffix}" for name in names],
            [(start, self._suffix) for start in starts],
        )

    def _take(self, name: str) -> PurePath:
        plain = PurePath(name).with_suffix("")
        taken, number = plain, 1
        while taken in self._taken:
            number += 1
            taken = plain.with_name(f"{plain.name}_{number}")
        self._taken.add(taken)
        return taken
