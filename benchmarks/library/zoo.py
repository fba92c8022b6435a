"""Zoo: tries third-party ONNX detectors and compares their boxes with their own exporter's.

    python -m benchmarks.library.zoo FOLDER [--json FILE]

FOLDER has ONNX files and a `manifest.json`: `{"models": [{"file", "settings", "reference": {picture: [[x1, y1, x2, y2,
score, class], …]}}, …]}`, boxes in pixels of a sample picture that ships with the package. `settings` is the user's
word; without it a refusal that names the settings counts as right, too. The exit code is 1 if a file is answered
wrongly.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from azaion_engine import Detector, DetectorSettings
from azaion_engine.errors import AzaionError
from azaion_engine.model.file import sample_picture

NEAR_PX = 1.0
"""Largest difference of a coordinate, pixels, at which two boxes count as the same."""


def try_model(path: Path, settings: dict[str, Any], references: list[dict[str, Any]]) -> dict[str, Any]:
    """Opens a model and compares its boxes with the references, of which one has to agree."""
    tried: dict[str, Any] = {"file": path.name, "settings": settings}
    try:
        with Detector.open(DetectorSettings(model=str(path), engine="onnx", **settings)) as detector:
            tried |= {"head": detector.engine.head.name, "input": str(detector.engine.input_form)}
            tried["notes"] = list(detector.engine.notes)
            results = []
            for reference in references:
                found = {name: detector.detect(sample_picture(name))[0] for name in reference}
                compared = [
                    compare(
                        np.column_stack([one.boxes, one.confidences, one.class_ids]), np.array(reference[name], float)
                    )
                    for name, one in found.items()
                ]
                results.append(max(compared, key=lambda one: (not one["right"], one["largest_px"])))
            return tried | min(results, key=lambda one: (not one["right"], one["largest_px"]))
    except AzaionError as error:
        return tried | {"right": None, "refused": str(error)}


def compare(found: Any, reference: Any) -> dict[str, Any]:
    """Returns whether each reference box has a box of its class nearby, and the largest difference of a coordinate."""
    left = list(found)
    largest = 0.0
    for box in reference:
        same = [(float(np.abs(row[:4] - box[:4]).max()), at) for at, row in enumerate(left) if row[5] == box[5]]
        if not same:
            return {"right": False, "boxes": len(found), "expected": len(reference), "largest_px": float("inf")}
        distance, at = min(same)
        largest = max(largest, distance)
        left.pop(at)
    right = not left and largest <= NEAR_PX
    return {"right": right, "boxes": len(found), "expected": len(reference), "largest_px": round(largest, 3)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    manifest = json.loads((options.folder / "manifest.json").read_text("utf-8"))
    rows = []
    for model in manifest["models"]:
        references = [model[key] for key in ("reference", "reference_square") if key in model]
        rows.append(try_model(options.folder / model["file"], model.get("settings", {}), references))
        row = rows[-1]
        verdict = {True: "right", False: "WRONG", None: "refused"}[row["right"]]
        shown = row.get("refused") or f"{row['head']}, {row['boxes']} of {row['expected']}, {row['largest_px']} px"
        print(f"{verdict:8} {row['file']}: {shown}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    raise SystemExit(any(row["right"] is False for row in rows))


if __name__ == "__main__":
    main()
