"""SAHI's sliced prediction on an ONNX file; `benchmarks.library.tiles` runs this in SAHI's own environment.

    python sahi_tiles.py MODEL OUT.npz --confidence 0.1 PICTURES

SAHI has no class for plain ONNX files: the adapter letterboxes a slice into the network's input as its own classes do,
runs the session, and hands rows over. Everything else, slicing, the picture as a whole, merging, is SAHI with its
defaults: overlap 0.2, GREEDYNMM, IOS 0.5.
"""

from __future__ import annotations

import argparse
import json
import time

import cv2
import numpy as np
import onnxruntime
from sahi.models.base import DetectionModel
from sahi.predict import get_sliced_prediction
from sahi.prediction import ObjectPrediction

NAMES = {"0": "car", "1": "truck", "2": "building", "3": "person"}
SIZE = 1280
PAD = 114


class OnnxModel(DetectionModel):
    """Adapter of an end-to-end ONNX detector, `[1, 300, 6]` rows of x1, y1, x2, y2, confidence, class."""

    inputs = 0

    def load_model(self) -> None:
        """Opens the session on one thread, as the other side's."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.model = onnxruntime.InferenceSession(self.model_path, options, providers=["CPUExecutionProvider"])
        self.category_mapping = NAMES

    def set_device(self, device: str | None = None) -> None:
        """Keeps the name: nothing of PyTorch is used."""
        self.device = device

    def perform_inference(self, image: np.ndarray) -> None:
        """Runs one slice."""
        self.inputs += 1
        height, width = image.shape[:2]
        scale = min(SIZE / height, SIZE / width)
        tall, wide = round(height * scale), round(width * scale)
        resized = image if scale == 1 else cv2.resize(image, (wide, tall), interpolation=cv2.INTER_LINEAR)
        top, left = (SIZE - tall) // 2, (SIZE - wide) // 2
        canvas = np.full((SIZE, SIZE, 3), PAD, np.uint8)
        canvas[top : top + tall, left : left + wide] = resized
        [rows] = self.model.run(None, {"images": (canvas.transpose(2, 0, 1)[None] / np.float32(255))})
        rows = rows[0].copy()
        rows[:, [0, 2]] = np.clip((rows[:, [0, 2]] - left) / scale, 0, width)
        rows[:, [1, 3]] = np.clip((rows[:, [1, 3]] - top) / scale, 0, height)
        self._original_predictions = [rows]

    @property
    def num_categories(self) -> int:
        """Number of classes."""
        return len(NAMES)

    @property
    def has_mask(self) -> bool:
        """There are none."""
        return False

    @property
    def category_names(self) -> list[str]:
        """Names of the classes."""
        return list(NAMES.values())

    def _create_object_prediction_list_from_original_predictions(
        self, shift_amount_list: list | None = None, full_shape_list: list | None = None
    ) -> None:
        # One slice's, or a list with one slice's.
        shift, full = (
            given[0] if given and isinstance(given[0], list) else given
            for given in (shift_amount_list, full_shape_list)
        )
        [rows] = self._original_predictions
        self._object_prediction_list_per_image = [
            [
                ObjectPrediction(
                    bbox=[x1, y1, x2, y2],
                    category_id=int(class_id),
                    score=confidence,
                    category_name=NAMES[str(int(class_id))],
                    shift_amount=shift or [0, 0],
                    full_shape=full,
                )
                for x1, y1, x2, y2, confidence, class_id in rows.tolist()
                if confidence >= self.confidence_threshold and x2 > x1 and y2 > y1
            ]
        ]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--confidence", type=float, required=True)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    model = OnnxModel(model_path=options.model, confidence_threshold=options.confidence)
    model.perform_inference(np.zeros((SIZE, SIZE, 3), np.uint8))
    model.inputs = 0
    found = {}
    wall, cpu = time.perf_counter(), time.process_time()
    for index, path in enumerate(options.pictures):
        result = get_sliced_prediction(path, model, slice_height=SIZE, slice_width=SIZE, verbose=0)
        found[f"rows_{index}"] = np.array(
            [[*one.bbox.to_xyxy(), one.score.value, one.category.id] for one in result.object_prediction_list],
            np.float32,
        ).reshape(-1, 6)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    report = {
        "inputs": model.inputs,
        "wall_s": round(wall, 2),
        "cpu_s": round(cpu, 2),
        "inputs_per_cpu_s": round(model.inputs / cpu, 3),
        "inputs_per_s": round(model.inputs / wall, 3),
    }
    np.savez(options.out, report=json.dumps(report), **found)


if __name__ == "__main__":
    main()
