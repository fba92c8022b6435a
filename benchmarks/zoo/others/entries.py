"""Entries of the zoo's `manifest.json`, which `benchmarks.library.zoo` reads: a maker adds one for each file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

PICTURES = Path(__file__).parents[3] / "azaion_engine" / "data"
SAMPLES = ("sample_1.jpg", "sample_2.jpg")

THRESHOLD = 0.25
"""Confidence from which on boxes are expected."""


def has(folder: Path, file: str) -> bool:
    """Whether the file and its entry are there, so that a maker need not make it again."""
    return (folder / file).is_file() and (folder / f"{file}.json").is_file()


def add(
    folder: Path,
    file: str,
    how: str,
    reference: Mapping[str, Iterable[Iterable[float]]],
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Writes the entry of one file beside it, and joins all entries into the manifest.

    Args:
        folder: Holds the ONNX files and the manifest.
        file: Name of the ONNX file.
        how: The exporter, its version and its options.
        reference: x1, y1, x2, y2 in pixels of the picture, confidence, class of each box, by name of the picture.
        settings: Keys of `DetectorSettings` that only a user can know.
    """
    rows = {name: [[float(value) for value in row] for row in boxes] for name, boxes in reference.items()}
    entry = {"file": file, "how": how, "settings": dict(settings or {}), "reference": rows}
    (folder / f"{file}.json").write_text(json.dumps(entry, indent=1) + "\n")
    entries = [json.loads(path.read_text()) for path in sorted(folder.glob("*.onnx.json"))]
    (folder / "manifest.json").write_text(json.dumps({"models": entries}, indent=1) + "\n")


def clip(rows: Iterable[Iterable[float]], width: int, height: int) -> list[list[float]]:
    """Clips boxes to the picture and leaves out those that have no area in it, as the library does."""
    clipped = []
    for x1, y1, x2, y2, *rest in rows:
        box = [min(max(x1, 0), width), min(max(y1, 0), height), min(max(x2, 0), width), min(max(y2, 0), height)]
        if box[2] > box[0] and box[3] > box[1]:
            clipped.append([*box, *rest])
    return clipped


class Export(Protocol):
    """One file of a maker."""

    @property
    def file(self) -> str:
        """Name of the ONNX file."""
        ...


AnExport = TypeVar("AnExport", bound=Export)


def make_all(description: str | None, exports: Sequence[AnExport], make: Callable[[Path, AnExport], None]) -> None:
    """Command line of a maker: makes what lacks in the folder given.

    Args:
        description: For `--help`.
        exports: The maker's files.
        make: Makes one file and adds its entry.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for export in exports:
        if not has(folder, export.file):
            make(folder, export)
            print(export.file)
