"""Pictures of the zoo: the samples, and scenes of the demo in other proportions.

python -m benchmarks.zoo.pictures FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2

from demo.scenes.samples import Sample, write_samples
from demo.scenes.scene import render_scene

SCENES = (
    Sample("scene_tall.png", 950_000_101, 500, 777, 0.08, "suburb"),
    Sample("scene_small.png", 950_000_102, 211, 160, 0.2, "yard"),
    Sample("scene_square.png", 950_000_103, 640, 640, 0.08, "yard"),
)


def main() -> None:
    """Renders those that are not there."""
    folder = Path(sys.argv[1]) / "pictures"
    if not all((folder / scene.name).exists() for scene in SCENES):
        write_samples(folder)
    for name, seed, width, height, metres_per_pixel, kind in SCENES:
        if not (folder / name).exists():
            scene = render_scene(seed, width, height, metres_per_pixel, kind)
            cv2.imwrite(str(folder / name), scene.picture[:, :, ::-1])


if __name__ == "__main__":
    main()
