"""Compile PTX: `python -m azaion_engine.cuda.compile_ptx FILE.cu …` makes FILE.ptx beside each FILE.cu.

PTX, not machine code: the driver compiles it for any GPU, and users need no CUDA toolkit. PTX names the version of its
instruction set (ISA), and a driver refuses a version newer than its own. NVRTC 12.0 writes ISA 8.0, which every driver
from 525 (CUDA 12.0) on reads.
"""

from __future__ import annotations

import ctypes
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from azaion_engine.extras import import_extra

# No contraction to fused multiply-adds: the CPU's arithmetic rounds after each operation.
_OPTIONS = (b"--gpu-architecture=compute_70", b"--fmad=false", b"--std=c++14")


def compile_ptx(source: Path) -> bytes:
    """Compiles CUDA C++ to PTX; needs no GPU.

    Args:
        source: The .cu file.

    Raises:
        MissingDependencyError: The package nvidia-cuda-nvrtc-cu12 is not installed.
        ValueError: The source does not compile; carries the compiler's log.
    """
    with ThreadPoolExecutor(1) as pool:  # a thread of its own: NVRTC 12.0 leaves it in the C locale
        return pool.submit(_compile, _load_nvrtc(), source).result()


def _compile(nvrtc: ctypes.CDLL, source: Path) -> bytes:
    program = ctypes.c_void_p()
    text, name = source.read_bytes(), source.name.encode()
    _check(nvrtc, nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, name, 0, None, None))
    try:
        options = (ctypes.c_char_p * len(_OPTIONS))(*_OPTIONS)
        if nvrtc.nvrtcCompileProgram(program, len(options), options):
            raise ValueError(_read(nvrtc, program, "ProgramLog").decode())
        return _read(nvrtc, program, "PTX")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _load_nvrtc() -> ctypes.CDLL:
    package = import_extra("nvidia.cuda_nvrtc", "NVRTC", "pip install nvidia-cuda-nvrtc-cu12==12.0.*")
    return ctypes.CDLL(str(Path(package.__path__[0]) / "lib" / "libnvrtc.so.12"))


def _read(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, text))
    return text.value


def _check(nvrtc: ctypes.CDLL, status: int) -> None:
    if status:
        nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise ValueError(nvrtc.nvrtcGetErrorString(status).decode())


if __name__ == "__main__":
    for given in map(Path, sys.argv[1:]):
        ptx = given.with_suffix(".ptx")
        ptx.write_bytes(compile_ptx(given))
        print(f"{ptx}: {ptx.stat().st_size} bytes")
