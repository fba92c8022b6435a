"""Compiles a kernel's source as C++, so that it runs without a GPU: a block has one thread."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

_WORDS_OF_CUDA = """
#include <math.h>
#include <algorithm>
using std::max; using std::min;
struct Index { int x, y, z; };
static Index blockIdx, threadIdx;
static const Index blockDim = {1, 1, 1};
#define __device__
#define __global__
#define __float2int_rn(value) ((int)lrintf(value))
#define __fmaf_rn fmaf
static int atomicAdd(int* counter, int value) { int before = *counter; *counter += value; return before; }
static int atomicMin(int* least, int value) { int before = *least; *least = min(before, value); return before; }
#include SOURCE
"""


def compile_as_cpp(source: Path, glue: str, folder: Path) -> ctypes.CDLL:
    """Returns a library with the functions of `glue`, C++ that calls the kernels for each block; skips without g++."""
    compiler = shutil.which("g++")
    if not compiler:
        pytest.skip("no g++ here; on a GPU the PTX itself is tested")
    (folder / "kernel.cpp").write_text(_WORDS_OF_CUDA + glue)
    options = ["-O1", "-ffp-contract=off", "-shared", "-fPIC", f'-DSOURCE="{source}"']
    subprocess.run([compiler, *options, "kernel.cpp", "-o", "kernel.so"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "kernel.so"))
