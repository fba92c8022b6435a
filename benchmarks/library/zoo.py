"""Compares the boxes of third-party detectors with those in a manifest.

Run with `python -m benchmarks.library.zoo FOLDER`. The folder holds ONNX files and `manifest.json`:
`{"models": [{"file": …, "reference": {"sample_1.jpg": [[x1, y1, x2, y2, confidence, class], …]}, "settings": {…}}]}`;
`settings` are the keys of `DetectorSettings` that the file needs, if any. Prints, for each file, what it was recognised
as, the number of boxes found and expected, and the largest difference of a corner, in pixels. With `--engine tensorrt`
each file is built for the GPU first, and the table shows what the build's check against ONNX Runtime found.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.detector import Detector
from azaion_engine.errors import AzaionError
from azaion_engine.model.file import sample_picture

CONFIDENCE = 0.25
"""Threshold of the manifest's boxes."""
ONNX_RUNTIME = {"engine": "onnx"}


def main() -> int:
    """Prints the table; returns 1 if a file was answered wrongly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--settings", type=Path, help="JSON of settings by file name, which go before the manifest's")
    parser.add_argument("--json", type=Path, help="also write the table there")
    parser.add_argument("--only", help="part of the names of the files to try")
    parser.add_argument("--engine", default="onnx", choices=("onnx", "tensorrt"))
    parser.add_argument("--cache", type=Path, help="folder of the plans")
    args = parser.parse_args()
    build = ONNX_RUNTIME if args.engine == "onnx" else {"engine": args.engine, "batch_size": 1, "optimization_level": 1}
    build |= {"cache_dir": args.cache} if args.cache else {}
    keys = json.loads(args.settings.read_text()) if args.settings else {}
    models = json.loads((args.folder / "manifest.json").read_text())["models"]
    table = [
        compare(args.folder / model["file"], model, keys.get(model["file"], model.get("settings", {})), build)
        for model in sorted(models, key=lambda model: str(model["file"]))
        if not args.only or args.only in model["file"]
    ]
    print("| file | keys | recognised as | boxes / expected | largest difference, px | built |")
    print("|---|---|---|---|---|---|")
    for row in table:
        keys_in_words = json.dumps(row["settings"]) if row["settings"] else ""
        cells = [row["file"], keys_in_words, *(row[name] for name in ("recognised", "boxes", "difference", "built"))]
        print(f"| {' | '.join(cells)} |")
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n")
    return int(any(row["wrong"] for row in table))


def compare(
    path: Path, model: dict[str, Any], settings: dict[str, Any], build: Mapping[str, Any] = ONNX_RUNTIME
) -> dict[str, Any]:
    """Detects the sample pictures with one file and compares the boxes.

    Args:
        path: The ONNX file.
        model: Its entry of the manifest.
        settings: Keys of `DetectorSettings` that the file needs.
        build: Keys that choose the engine. The boxes of TensorRT are reported, not judged: in FP16 a confidence near
            the threshold may cross it.
    """
    row: dict[str, Any] = {"file": path.name, "settings": settings, "wrong": False, "built": ""}
    try:
        with Detector.open(model=str(path), **build, **settings) as detector:
            row["recognised"] = detector.engine.choice.family
            if (origin := detector.engine.origin) and origin.agreement:
                row["built"] = f"{origin.agreement.precision} in {origin.seconds:.0f} s: {origin.agreement}"
            found, worst, wanted = 0, 0.0, 0
            references = model.get("reference_square") or model["reference"]
            for name, reference in references.items():
                [answer] = detector.detect(sample_picture(name), confidence=CONFIDENCE)
                mine = np.column_stack([answer.boxes, answer.confidences, answer.class_ids])
                expected = np.array(reference, np.float64).reshape(-1, 6)
                found, wanted = found + len(mine), wanted + len(expected)
                worst = max(worst, largest_difference(mine, expected))
    except AzaionError as error:
        row |= {"recognised": f"refused: {error}", "boxes": "", "difference": ""}
        return row
    row |= {"boxes": f"{found} / {wanted}", "difference": f"{worst:.3f}"}
    row["wrong"] = build["engine"] == "onnx" and (found != wanted or not worst <= 1.0)
    return row


def largest_difference(found: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Returns the largest difference of a corner between boxes paired by class and place; infinity if one has none."""
    free = list(range(len(found)))
    worst = 0.0
    for box in expected:
        gaps = [float(np.abs(found[i, :4] - box[:4]).max()) if found[i, 5] == box[5] else np.inf for i in free]
        if not gaps or not np.isfinite(min(gaps)):
            return float("inf")
        worst = max(worst, min(gaps))
        free.pop(int(np.argmin(gaps)))
    return worst if not free else float("inf")


if __name__ == "__main__":
    sys.exit(main())
