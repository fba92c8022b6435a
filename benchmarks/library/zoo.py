"""Compares the boxes of third-party detectors with those in a manifest.

Run with `python -m benchmarks.library.zoo FOLDER`. The folder holds ONNX files and `manifest.json`:
`{"models": [{"file": …, "reference": {"sample_1.jpg": [[x1, y1, x2, y2, confidence, class], …]}, "settings": {…}}]}`;
of a pose, x, y and visibility of each keypoint follow the class, and count as corners and confidences do;
`settings` are the keys of `DetectorSettings` that the file needs, if any; a file that needs some must be refused
without them. `"refusal": true` is a file that finds no boxes, `"failed"` one that its exporter could not make, and
`"within_px"` and `"within_confidence"` what corners and confidences may be off where the exporter itself rounds.
Pictures come from `FOLDER/pictures`, or from the samples. Prints, for each file, what it was recognised as, the number
of boxes found and expected, and the largest differences of a corner, in pixels, and of a confidence. With `--low` the
threshold is 0.001, and the manifest's `reference_low` is compared. With `--engine tensorrt` each file is built for the
GPU first, and the table shows what the build's check against ONNX Runtime found.
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
LOW_CONFIDENCE = 0.001
"""Threshold of the manifest's `reference_low`, Ultralytics' own in validation."""
PIXELS = 0.5
"""Largest difference of a corner that is right."""
CONFIDENCES = 1e-3
"""Largest difference of a confidence that is right."""
ONNX_RUNTIME = {"engine": "onnx"}


def main() -> int:
    """Prints the table; returns 1 if a file was answered wrongly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--settings", type=Path, help="JSON of settings by file name, which go before the manifest's")
    parser.add_argument("--json", type=Path, help="also write the table there")
    parser.add_argument("--only", help="part of the names of the files to try")
    parser.add_argument("--engine", default="onnx", choices=("onnx", "tensorrt"))
    parser.add_argument("--optimization-level", type=int, default=1, help="of TensorRT's builder, 0 to 5")
    parser.add_argument("--low", action="store_true", help="compare at a confidence of 0.001")
    parser.add_argument("--cache", type=Path, help="folder of the plans")
    args = parser.parse_args()
    build: dict[str, Any] = dict(ONNX_RUNTIME)
    if args.engine == "tensorrt":
        build = {"engine": "tensorrt", "batch_size": 1, "optimization_level": args.optimization_level}
    build |= {"cache_dir": args.cache} if args.cache else {}
    keys = json.loads(args.settings.read_text()) if args.settings else {}
    models = json.loads((args.folder / "manifest.json").read_text())["models"]
    table = [
        compare(args.folder / model["file"], model, keys.get(model["file"], model.get("settings", {})), build, args.low)
        for model in sorted(models, key=lambda model: str(model["file"]))
        if (not args.only or args.only in model["file"]) and not (args.low and "reference_low" not in model)
    ]
    print(f"At a confidence of {LOW_CONFIDENCE if args.low else CONFIDENCE}:\n")
    print("| file | keys | recognised as | boxes / expected | largest difference, px | confidence | verdict | built |")
    print("|---|---|---|---|---|---|---|---|")
    for row in table:
        keys_in_words = json.dumps(row["settings"]) if row["settings"] else ""
        names = ("recognised", "boxes", "difference", "confidence", "verdict", "built")
        print(f"| {' | '.join([row['file'], keys_in_words, *(row[name] for name in names)])} |")
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n")
    return int(any(row["wrong"] for row in table))


def compare(
    path: Path,
    model: dict[str, Any],
    settings: dict[str, Any],
    build: Mapping[str, Any] = ONNX_RUNTIME,
    low: bool = False,
) -> dict[str, Any]:
    """Detects the sample pictures with one file and compares the boxes.

    Args:
        path: The ONNX file.
        model: Its entry of the manifest.
        settings: Keys of `DetectorSettings` that the file needs.
        build: Keys that choose the engine. The boxes of TensorRT are reported, not judged: in FP16 a confidence near
            the threshold may cross it.
        low: Whether to compare `reference_low` at a confidence of 0.001.
    """
    row: dict[str, Any] = {"file": path.name, "settings": settings, "wrong": False, "built": "", "boxes": ""}
    row |= {"difference": "", "confidence": ""}
    if "failed" in model:
        return row | {"recognised": f"not made: {model['failed']}", "verdict": "not made"}
    refused = refusal_of(path, build) if settings else ""
    try:
        with Detector.open(model=str(path), **build, **settings) as detector:
            row["recognised"] = detector.engine.choice.family
            if (origin := detector.engine.origin) and origin.agreement:
                row["built"] = f"{origin.agreement.precision} in {origin.seconds:.0f} s: {origin.agreement}"
            found, worst, wanted = 0, (0.0, 0.0), 0
            references = model["reference_low"] if low else model.get("reference_square") or model.get("reference", {})
            for name, reference in references.items():
                own = path.parent / "pictures" / name
                picture = own.read_bytes() if own.exists() else sample_picture(name)
                [answer] = detector.detect(picture, confidence=LOW_CONFIDENCE if low else CONFIDENCE)
                mine = np.column_stack([answer.boxes, answer.confidences, answer.class_ids])
                expected = np.array(reference, np.float64)
                expected = expected.reshape(len(expected), -1 if expected.size else 6)
                if answer.keypoints is not None and expected.shape[1] != 6:
                    mine = np.column_stack([mine, answer.keypoints.reshape(len(answer), -1)])
                found, wanted = found + len(mine), wanted + len(expected)
                corner, confidence = largest_difference(mine, expected)
                worst = max(worst[0], corner), max(worst[1], confidence)
    except AzaionError as error:
        verdict = "refused" if model.get("refusal") else "refused, the keys are not known"
        return row | {"recognised": f"refused: {error}", "verdict": verdict}
    row |= {"boxes": f"{found} / {wanted}", "difference": f"{worst[0]:.3f}", "confidence": f"{worst[1]:.1e}"}
    right = (
        found == wanted
        and worst[0] <= model.get("within_px", PIXELS)
        and worst[1] <= model.get("within_confidence", CONFIDENCES)
        and not model.get("refusal")
    )
    row["wrong"] = build["engine"] == "onnx" and not right
    row["verdict"] = "WRONG" if row["wrong"] else "right"
    if settings:
        row["recognised"] += f"; without the keys: {refused or 'opened'}"
        row["verdict"] += " with keys" if refused else " with keys, opened without"
    return row


def refusal_of(path: Path, build: Mapping[str, Any]) -> str:
    """Returns what a file is refused with, without any keys; empty if it is not."""
    try:
        with Detector.open(model=str(path), **build):
            return ""
    except AzaionError as error:
        return str(error)


def largest_difference(found: NDArray[np.float64], expected: NDArray[np.float64]) -> tuple[float, float]:
    """Returns the largest differences of boxes paired by class, place and confidence; infinity if one has no partner.

    Returns:
        Of a corner or a keypoint, in pixels, and of a confidence or a visibility.
    """
    if len(found) and len(expected) and found.shape[1] != expected.shape[1]:
        return float("inf"), float("inf")
    free = list(range(len(found)))
    worst = 0.0, 0.0
    for box in expected:
        mine = found[free]
        corners = np.abs(mine[:, :4] - box[:4]).max(axis=1, initial=0.0)
        confidences = np.abs(mine[:, 4] - box[4])
        # Boxes of one class can be a pixel apart, and those of one place differ in confidence.
        gaps = np.where(mine[:, 5] == box[5], corners + confidences / CONFIDENCES * PIXELS, np.inf)
        if not len(gaps) or not np.isfinite(gaps.min()):
            return float("inf"), float("inf")
        nearest = int(np.argmin(gaps))
        points = np.abs(mine[nearest, 6:] - box[6:]).reshape(-1, 3)
        corner = max(float(corners[nearest]), points[:, :2].max(initial=0.0))
        confidence = max(float(confidences[nearest]), points[:, 2].max(initial=0.0))
        worst = max(worst[0], corner), max(worst[1], confidence)
        free.pop(nearest)
    return worst if not free else (float("inf"), float("inf"))


if __name__ == "__main__":
    sys.exit(main())
