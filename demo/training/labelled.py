"""Labelled scenes: writes held-out scenes as a data set, with YOLO labels and the same as COCO annotations."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2

from demo.scenes.objects import CLASS_NAMES
from demo.scenes.scene import render_scene
from demo.training.evaluate import HELD_OUT_SEED


def write_labelled(folder: Path, scenes: int, size: int) -> None:
    """Write PNG pictures, `data.yaml` with labels files, and `annotations/instances_val.json`.

    Args:
        folder: where to write; created if missing.
        scenes: number of scenes: the first of those that `evaluate` renders.
        size: side of the pictures, pixels.
    """
    for part in ("images/val", "labels/val", "annotations"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for index in range(scenes):
        scene = render_scene(HELD_OUT_SEED + index, size, size)
        name = f"{index:04d}.png"
        cv2.imwrite(str(folder / "images/val" / name), scene.picture[:, :, ::-1])
        images.append({"id": index + 1, "file_name": name, "width": size, "height": size})
        rows = []
        for x1, y1, x2, y2, label in scene.boxes.tolist():
            centre = ((x1 + x2) / 2 / size, (y1 + y2) / 2 / size)
            rows.append(f"{label:.0f} {centre[0]:.6f} {centre[1]:.6f} {(x2 - x1) / size:.6f} {(y2 - y1) / size:.6f}\n")
            box = [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": int(label) + 1,
                    "bbox": box,
                    "area": round(box[2] * box[3], 2),
                    "iscrowd": 0,
                }
            )
        (folder / "labels/val" / name).with_suffix(".txt").write_text("".join(rows))
    names = "".join(f"  {label}: {name}\n" for label, name in enumerate(CLASS_NAMES))
    (folder / "data.yaml").write_text(f"val: images/val\nnames:\n{names}")
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(CLASS_NAMES)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations/instances_val.json").write_text(json.dumps(document))


def main() -> None:
    """Write a labelled data set."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--size", type=int, default=1280)
    options = parser.parse_args()
    write_labelled(options.folder, options.scenes, options.size)


if __name__ == "__main__":
    main()
