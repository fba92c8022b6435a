"""Samples: renders the sample pictures that ship with the package."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import cv2

from demo.scenes.scene import render_scene

QUALITY = 90


class Sample(NamedTuple):
    """File name and scene of a sample picture.

    Attributes:
        name: file name.
        seed: held-out seed of the scene.
        width: columns.
        height: rows.
        metres_per_pixel: ground size of a pixel.
        kind: kind of scene, one of `demo.scenes.scene.KINDS`.
    """

    name: str
    seed: int
    width: int
    height: int
    metres_per_pixel: float
    kind: str


SAMPLES = (
    Sample("sample_1.jpg", 950_000_006, 1600, 1216, 0.06, "suburb"),
    Sample("sample_2.jpg", 950_000_020, 1280, 960, 0.06, "yard"),
)


def write_samples(folder: Path) -> list[Path]:
    """Render the samples as JPEG files.

    Args:
        folder: where to write; created if missing.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for sample in SAMPLES:
        scene = render_scene(sample.seed, sample.width, sample.height, sample.metres_per_pixel, sample.kind)
        path = folder / sample.name
        cv2.imwrite(str(path), scene.picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        files.append(path)
    return files


def main() -> None:
    """Write the sample pictures into a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    for path in write_samples(parser.parse_args().folder):
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
