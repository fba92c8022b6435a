"""Fake `nvimgcodec`: nvImageCodec's own CPU decoder stands for the hardware, and writes to the fake GPU's memory."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from nvidia import nvimgcodec as real

from tests.azaion_engine.fakes.fake_cuda import FakeCuda, streams


def make_nvimgcodec(cuda: FakeCuda) -> Any:
    """Makes the module; `cuda.decodes` and `cuda.decoding_hardware` say which decoders it has."""
    module: Any = ModuleType("nvidia.nvimgcodec")
    module.CodeStream, module.DecodeParams, module.BackendKind = real.CodeStream, real.DecodeParams, real.BackendKind
    module.Backend = lambda kind: kind

    class Decoder:
        def __init__(self, *, device_id: int, max_num_cpu_threads: int, backends: list[Any]) -> None:
            cuda.check()
            assert real.BackendKind.CPU_ONLY not in backends, "the CPU is not what this is about"
            self.there = cuda.decoding_hardware or real.BackendKind.HW_GPU_ONLY not in backends
            self.first_batch = 0
            self.real = real.Decoder(
                device_id=real.NVIMGCODEC_DEVICE_CPU_ONLY,
                max_num_cpu_threads=1,
                backends=[real.Backend(real.BackendKind.CPU_ONLY)],
            )

        def decode(self, srcs: list[Any], *, params: Any, cuda_stream: int, images: Any = None) -> list[Any]:
            cuda.check()
            assert not streams[cuda_stream].queue, "the memory of the batch before is still in use"
            assert images is None or len(images) == len(srcs)
            assert len(srcs) > 1, "the first one alone takes 0.33 s of its own"
            self.first_batch = self.first_batch or len(srcs)
            assert len(srcs) <= self.first_batch, "the hardware would leave the others to the processor"
            if not (self.there and cuda.decodes):
                return [None] * len(srcs)
            cuda.decoded += len(srcs)
            for image in images or []:
                assert image.stream is streams[cuda_stream], "it would wait for the stream of the time before"
            reused = None if images is None else [image.real for image in images]
            found = self.real.decode(srcs, images=reused, params=params)
            return [None if image is None else Image(image, streams[cuda_stream]) for image in found]

    class Image:
        def __init__(self, image: Any, stream: Any) -> None:
            self.real, self.stream = image, stream
            self.shape, self.strides, self.capacity = image.shape, image.strides, image.capacity
            self.__cuda_array_interface__ = image.__array_interface__

    module.Decoder = Decoder
    return module
