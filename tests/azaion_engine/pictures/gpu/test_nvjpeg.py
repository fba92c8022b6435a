"""Nvjpeg: the real library, which loads without a GPU; what it decodes is tested with JpegDecoder."""

from __future__ import annotations

import shutil

import pytest

from azaion_engine.errors import MissingDependencyError
from azaion_engine.pictures.gpu import nvjpeg


def test_the_installed_library_is_found_and_says_its_version() -> None:
    assert any(version.startswith(("12.", "13.")) for version in nvjpeg.versions())


def test_without_a_gpu_the_library_refuses() -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("there is a GPU here")
    with pytest.raises(MissingDependencyError, match=r"nvjpegCreateEx failed \(\d+\)"):
        nvjpeg.Nvjpeg()
