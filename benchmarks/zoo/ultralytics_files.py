"""Files of Ultralytics' exporter, and what its own `predict` answers with them.

    .venv-zoo/bin/python -m benchmarks.zoo.ultralytics_files FOLDER [ONLY]

Ultralytics' defaults: IoU 0.7, at most 300 boxes, suppression by class, the picture padded to the whole input.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics import RTDETR, YOLO
from ultralytics.data.augment import LetterBox
from ultralytics.models.yolo.detect import DetectionPredictor

from benchmarks.zoo.folder import CONFIDENCE, Answers, Folder, Maker, clip, make_all
from benchmarks.zoo.lively import scale, shift

SIZE = (320, 320)
FILES: dict[str, tuple[str, dict[str, Any]]] = {
    # file: (definition, arguments of `export` beside `format`; `nc`, `task` and `above` are this script's)
    "yolo26n": ("yolo26n.yaml", {}),
    "yolo26n_rows": ("yolo26n.yaml", {"nms": False}),
    "yolo26n_nms": ("yolo26n.yaml", {"nms": True}),
    "yolo26n_640": ("yolo26n.yaml", {"imgsz": [640, 640]}),
    "yolov8n": ("yolov8n.yaml", {}),
    "yolov8n_nms": ("yolov8n.yaml", {"nms": True}),
    "yolov8n_nms_agnostic": ("yolov8n.yaml", {"nms": True, "agnostic_nms": True}),
    "yolov8n_nc1": ("yolov8n.yaml", {"nc": 1}),
    "yolov8n_nc2_nms": ("yolov8n.yaml", {"nc": 2, "nms": True}),
    "yolov8n_640": ("yolov8n.yaml", {"imgsz": [640, 640]}),
    "yolo11n": ("yolo11n.yaml", {}),
    "yolo11n_dynamic": ("yolo11n.yaml", {"dynamic": True}),
    "yolo11n_dynamic_nms": ("yolo11n.yaml", {"dynamic": True, "nms": True}),
    "yolo11n_half": ("yolo11n.yaml", {"half": True}),
    "yolo11n_batch4": ("yolo11n.yaml", {"batch": 4}),
    "yolo11n_rectangle": ("yolo11n.yaml", {"imgsz": [256, 448]}),
    "yolo11n_opset12": ("yolo11n.yaml", {"opset": 12}),
    "yolo11n_opset20": ("yolo11n.yaml", {"opset": 20}),
    "yolov10n": ("yolov10n.yaml", {}),
    "yolov10n_rows": ("yolov10n.yaml", {"nms": False}),
    "yolov9t": ("yolov9t.yaml", {}),
    "yolov5nu": ("yolov5n.yaml", {}),
    "yolov5n6u": ("yolov5n6.yaml", {}),
    "yolov8n_p2": ("yolov8n-p2.yaml", {}),
    "yolov3_tinyu": ("yolov3-tiny.yaml", {}),
    "rtdetr_l": ("rtdetr-l.yaml", {}),
    "rtdetr_l_nc1": ("rtdetr-l.yaml", {"nc": 1}),
    "rtdetr_l_nc2": ("rtdetr-l.yaml", {"nc": 2}),
    "yolo11n_seg": ("yolo11n-seg.yaml", {"task": "segment"}),
    "yolo11n_seg_nms": ("yolo11n-seg.yaml", {"task": "segment", "nms": True}),
    "yolo26n_seg_rows": ("yolo26n-seg.yaml", {"task": "segment", "nms": False}),
    "yolo11n_pose": ("yolo11n-pose.yaml", {"task": "pose"}),
    "yolo11n_pose_nms": ("yolo11n-pose.yaml", {"task": "pose", "nms": True}),
    "yolo26n_pose_rows": ("yolo26n-pose.yaml", {"task": "pose", "nms": False}),
    "yolo11n_obb": ("yolo11n-obb.yaml", {"task": "obb"}),
    "yolo11n_obb_nms": ("yolo11n-obb.yaml", {"task": "obb", "nms": True}),
    "yolo26n_obb_rows": ("yolo26n-obb.yaml", {"task": "obb", "nms": False}),
    "yolo11n_cls": ("yolo11n-cls.yaml", {"task": "classify"}),
}


def make(folder: Folder, path: Path, definition: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Makes one file, and asks `predict` for its boxes at both confidences."""
    arguments = {"imgsz": list(SIZE), **arguments}
    task, classes, above = arguments.pop("task", "detect"), arguments.pop("nc", None), arguments.pop("above", 120)
    torch.manual_seed(3)
    kind = RTDETR if definition.startswith("rtdetr") else YOLO
    model = kind(definition) if kind is RTDETR else kind(definition, task=task)
    if classes:
        network = type(model.model)(definition, nc=classes, verbose=False)
        network.args, network.task = model.model.args, task
        network.names = {index: f"class {index}" for index in range(classes)}
        model.model = network
    if task != "classify":
        enliven(model, folder, tuple(arguments["imgsz"]), above)
    written = model.export(format="onnx", device="cpu", **arguments)
    shutil.move(written, path)
    told = {"how": f"{definition}: {arguments}"}
    if task == "classify":
        return {**told, "refusal": True}
    if task == "segment":
        told["settings"] = {"task": "detect"}
    return {
        **told,
        "reference": predict(path, kind, task, folder, arguments["imgsz"], CONFIDENCE),
        "reference_low": predict(path, kind, task, folder, arguments["imgsz"], 0.001),
    }


def enliven(model: Any, folder: Folder, size: tuple[int, int], above: int) -> None:
    """Scales the weights, and spreads the scores of the classes."""
    network = model.model.eval()
    head = network.model[-1]
    picture = next(iter(folder.pictures.values()))
    pixels = LetterBox(size, auto=False)(image=picture)[..., ::-1].transpose(2, 0, 1)
    given = torch.from_numpy(np.ascontiguousarray(pixels)).float()[None] / 255
    scale(network, lambda: network(given), [head.dfl.conv] if hasattr(getattr(head, "dfl", None), "conv") else [])
    if hasattr(head, "dec_score_head"):
        shift(network, given, [head.dec_score_head[-1]], above)
        return
    for name in ("cv3", "one2one_cv3"):
        if levels := getattr(head, name, None):
            shift(network, given, [level[-1] for level in levels], above)


def predict(path: Path, kind: Any, task: str, folder: Folder, size: list[int], confidence: float) -> Answers:
    """Returns what `predict` finds on each picture with the file."""
    model = kind(str(path)) if kind is RTDETR else kind(str(path), task=task)
    found: Answers = {}
    for name, picture in folder.pictures.items():
        # The segmentation predictor drops boxes whose mask is empty: the boxes alone are wanted.
        how = {"predictor": DetectionPredictor} if task == "segment" else {}
        [result] = model.predict(
            picture, imgsz=size, conf=confidence, iou=0.7, rect=False, verbose=False, device="cpu", **how
        )
        if task == "obb":
            corners = result.obb.xyxyxyxy.cpu().numpy().astype(np.float64).reshape(-1, 4, 2)
            rest = result.obb.data[:, 5:7].cpu().numpy()
            rows = np.concatenate([corners.min(1), corners.max(1), rest], axis=1)
        else:
            rows = result.boxes.data.cpu().numpy()[:, :6]
            if task == "pose" and len(rows):
                rows = np.concatenate([rows, result.keypoints.data.cpu().numpy().reshape(len(rows), -1)], axis=1)
        found[name] = clip(rows, picture)
    return found


def maker(definition: str, arguments: dict[str, Any]) -> Maker:
    """Returns what makes one file."""
    return lambda folder, path: make(folder, path, definition, arguments)


if __name__ == "__main__":
    torch.set_num_threads(1)
    make_all(__doc__, {f"ultralytics_{name}.onnx": maker(*file) for name, file in FILES.items()})
