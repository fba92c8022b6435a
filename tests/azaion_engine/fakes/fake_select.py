"""Fake kernels of select.ptx: the heads on the CPU, on the memory that the launches name."""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from azaion_engine.heads.base import Head, Keypoints
from azaion_engine.heads.gpu.select_kernel import LAYOUT, THREADS, WANTED
from azaion_engine.heads.oriented import OrientedYolo
from azaion_engine.heads.yolo import ObjectnessYolo, RawYolo
from azaion_engine.heads.yolox import UndecodedYolox
from azaion_engine.pictures.prepared import Selection

if TYPE_CHECKING:
    from tests.azaion_engine.fakes.fake_cuda import FakeCuda, FakeStream

_values: dict[int, tuple[int, np.dtype[Any]]] = {}
"""Address of the keys → address and element type of the values that the first kernel read."""


class FakeSelect:
    """One of the kernels; the second does the work of all."""

    def __init__(self, cuda: FakeCuda, ptx: bytes, name: str) -> None:
        assert f".entry {name}(".encode() in ptx
        self.cuda, self.name = cuda, name

    def __call__(
        self, *arguments: np.uint64, block: tuple[int, int, int], grid: tuple[int, int, int], stream: FakeStream
    ) -> None:
        self.cuda.check()
        assert block == (THREADS, 1, 1)
        addresses = [int(argument) for argument in arguments]
        if self.name.startswith("suppress_"):
            layout, wanted, keys, *_, rows = addresses
            stream.put(lambda: self._suppress(layout, wanted, keys, rows, grid[2]))
        elif self.name.startswith("candidates_"):
            values, layout, _, keys, _, _ = addresses
            dtype = np.dtype(self.name.rsplit("_")[-1])
            stream.put(lambda: _values.__setitem__(keys, (values, dtype)))

    def _suppress(self, layout: int, wanted: int, keys: int, rows: int, count: int) -> None:
        [one] = self._view(layout, (1,), LAYOUT)
        columns = int(one["picture"]) // int(one["anchors"])
        anchors_first = bool(one["value"] == 1)
        shape = (int(one["anchors"]), columns) if anchors_first else (columns, int(one["anchors"]))
        address, dtype = _values[keys]
        values = self._view(address, (count, *shape), dtype).astype(np.float32)
        classes, offset, most = int(one["classes"]), int(one["class_offset"]), int(one["most"])
        points = Keypoints(int(one["keypoints"]), int(one["point_values"])) if one["keypoints"] else None
        head: Head = RawYolo("values", classes, not anchors_first, offset, points)
        if one["objectness"]:
            head = (UndecodedYolox if one["grid"] else ObjectnessYolo)("values", classes, offset)
        if self.name == "suppress_oriented":
            head = OrientedYolo("values", classes, not anchors_first, offset)
        selections = [
            Selection(float(want["confidence"]), self._iou(want["iou"]), int(want["most"]), bool(want["agnostic"]))
            for want in self._view(wanted, (count,), WANTED)
        ]
        out = self._view(rows, (count, most, head.row_columns), np.dtype(np.float32))
        out[:] = 0
        found = head.rows({"values": values}, (int(one["height"]), int(one["width"])), selections)
        for target, made in zip(out, found, strict=True):
            target[: len(made)] = made

    def _iou(self, limit: float) -> float:
        if self.name != "suppress_oriented":
            return float(limit)
        return 1 - math.sqrt(1 - math.exp(-max(0.0, float(limit))) + 1e-7)  # `distance_at`, backwards

    def _view(self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        size = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_char * size).from_address(self.cuda.memory(address, size))
        return np.frombuffer(memory, dtype).reshape(shape)
