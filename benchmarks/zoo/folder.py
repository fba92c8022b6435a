"""Folder of the zoo: the pictures, the files that were made, and what their own exporters answer."""

from __future__ import annotations

import argparse
import json
import os
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Answers = dict[str, list[list[float]]]
"""Rows `[x1, y1, x2, y2, confidence, class, …]` in pixels of the picture, by the picture's name; of a pose, x, y and
visibility of each keypoint follow."""

CONFIDENCE = 0.25
"""Confidence from which on the boxes of `reference` are expected; `reference_low` has those from 0.001 on."""


class Folder:
    """Files under one folder, each with an entry of its own, so that a stopped run goes on where it was."""

    def __init__(self, path: Path, only: str = "") -> None:
        """Reads the pictures.

        Args:
            path: Has `pictures/`, which `benchmarks.zoo.pictures` renders.
            only: Part of the names of the files to make; empty: all.
        """
        self.path = path
        self.only = only
        files = sorted((path / "pictures").iterdir())
        self.pictures: dict[str, NDArray[np.uint8]] = {file.name: cv2.imread(str(file)) for file in files}

    def add(self, name: str, make: Callable[[Path], dict[str, Any]]) -> None:
        """Makes a file and its entry, unless they are there.

        Args:
            name: The file, ending in .onnx.
            make: Writes the file and returns its entry of the manifest; what it raises becomes the entry.
        """
        entry = self.path / f"{name}.json"
        if self.only not in name or (entry.exists() and "failed" not in json.loads(entry.read_text())):
            return
        try:
            made = make(self.path / name)
        except Exception as error:  # an exporter's own fault: told in the table, and tried again next time
            traceback.print_exc()
            made = {"failed": f"{type(error).__name__}: {error}".split("\n")[0][:200]}
        entry.write_text(json.dumps({"file": name, **made}, indent=1) + "\n")
        print(name, made.get("failed") or {key: len(rows) for key, rows in made.get("reference", {}).items()})

    def write_manifest(self) -> None:
        """Joins the entries into `manifest.json`."""
        entries = [json.loads(entry.read_text()) for entry in sorted(self.path.glob("*.onnx.json"))]
        (self.path / "manifest.json").write_text(json.dumps({"models": entries}, indent=1) + "\n")


Maker = Callable[[Folder, Path], dict[str, Any]]
"""Writes a file and returns its entry: `how`, `reference`, and what else `benchmarks.library.zoo` reads."""


def make_all(description: str | None, makers: Mapping[str, Maker]) -> None:
    """Command line of an exporter: makes its files that are not there yet, and joins all entries.

    Args:
        description: For `--help`.
        makers: By file name.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="has `pictures/`")
    parser.add_argument("only", nargs="?", default="", help="part of the names of the files to make")
    args = parser.parse_args()
    folder = Folder(args.folder.resolve(), args.only)
    os.chdir(folder.path)  # some exporters write into the current folder
    for name, make in makers.items():
        folder.add(name, lambda path, make=make: make(folder, path))  # type: ignore[misc]
    folder.write_manifest()


def clip(rows: Iterable[Iterable[float]] | NDArray[np.float64], picture: NDArray[np.uint8]) -> list[list[float]]:
    """Returns rows with their corners inside the picture, without those that lie outside."""
    height, width = picture.shape[:2]
    rows = np.array(list(rows), np.float64)
    rows = rows.reshape(len(rows), -1 if rows.size else 6)
    rows[:, [0, 2]] = rows[:, [0, 2]].clip(0, width)
    rows[:, [1, 3]] = rows[:, [1, 3]].clip(0, height)
    inside = (rows[:, 2] > rows[:, 0]) & (rows[:, 3] > rows[:, 1])
    return [[round(float(value), 5) for value in row] for row in rows[inside]]
