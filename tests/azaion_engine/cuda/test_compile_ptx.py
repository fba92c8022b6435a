"""Every kernel's PTX was made from the source beside it, in a version that every driver of CUDA 12 reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from azaion_engine.cuda.compile_ptx import compile_ptx
from azaion_engine.heads.gpu import select_kernel
from azaion_engine.pictures.gpu import entropy_kernel, letterbox_kernel

KERNELS = [letterbox_kernel.PTX, entropy_kernel.PTX, select_kernel.PTX]


@pytest.mark.parametrize("ptx", KERNELS, ids=lambda ptx: ptx.name)
def test_the_ptx_was_made_from_the_source_beside_it(ptx: Path) -> None:
    assert compile_ptx(ptx.with_suffix(".cu")) == ptx.read_bytes(), "run `make ptx`"


@pytest.mark.parametrize("ptx", KERNELS, ids=lambda ptx: ptx.name)
def test_the_ptx_is_read_by_every_driver_of_cuda_12(ptx: Path) -> None:
    version = next(line for line in ptx.read_text().splitlines() if line.startswith(".version"))
    assert version == ".version 8.0"


def test_a_source_that_does_not_compile_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.cu").write_text("nonsense")
    with pytest.raises(ValueError, match=r"broken.cu\(1\): error"):
        compile_ptx(tmp_path / "broken.cu")
