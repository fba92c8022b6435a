"""Models on a real GPU: TensorRT engines that are loaded on demand and closed within a bound of the GPU's memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azaion_engine.cuda.gpu import describe_gpu
from azaion_engine.detector import Detector
from azaion_engine.model.file import sample_picture
from deployments.multiplexing.memory_bound import GpuMemory
from deployments.multiplexing.model_cache import ModelCache
from deployments.service import DetectorService
from deployments.settings import ServiceSettings
from tests.azaion_engine.models import make_detector
from tests.deployments.in_process import replica

CONFIDENCE = 0.05


@pytest.mark.gpu
def test_engines_are_closed_within_a_bound_of_the_gpu_s_memory_and_opened_anew(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    names = "abcd"
    for seed, name in enumerate(names):
        (tmp_path / f"{name}.onnx").write_bytes(make_detector(seed=seed, height=640, width=640))
    given = {"engine": "tensorrt", "cache_dir": tmp_path / "cache", "optimization_level": 1, "batch_size": 16}
    picture = sample_picture()

    async def found(cache: ModelCache, name: str) -> list[int]:
        async with cache.hold(name, 600) as held:
            assert held.service.detector.engine.name.startswith("tensorrt")
            answer = await held.service.detect(picture, confidence=CONFIDENCE)
        return answer.detections.class_ids.tolist()

    with replica() as inner:  # its front, for the services

        def open_model(name: str) -> DetectorService:
            settings = ServiceSettings(model=str(tmp_path / f"{name}.onnx"), **given)
            return DetectorService(settings, Detector.open(settings), 2, front=inner.service.front)

        async def scenario() -> None:
            gpu = describe_gpu(0)
            by_number = ModelCache(names, open_model, 2, 10, GpuMemory(gpu, 1.0))
            first = {name: await found(by_number, name) for name in names}
            assert sorted(by_number.versions()) == ["c", "d"]
            sizes = [by_number._models[name].size for name in names]
            assert max(sizes) > 0, "NVML tells no growth of the memory in use"
            by_number.close()
            used = gpu.usage().memory_used_bytes
            assert used is not None
            # The first one's growth has the CUDA context in it, which stays.
            part = (used + min(size for size in sizes if size > 0) * 1.5) / gpu.memory_bytes
            by_memory = ModelCache(names, open_model, 4, 10, GpuMemory(gpu, part))
            for name in names * 2:
                assert await found(by_memory, name) == first[name]
            assert len(by_memory.versions()) < len(names)
            by_memory.close()

        run(scenario())
