"""benchmarks.library.entropy_time: a loader is measured with the check of scans and without it, in turns."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from azaion_engine.pictures.gpu.entropy_kernel import CheckedJpeg, EntropyKernel
from azaion_engine.pictures.gpu.loader import PictureLoader
from azaion_engine.pictures.prepared import JpegPicture
from benchmarks.library import entropy_time, pipeline
from tests.azaion_engine.conftest import Cuda

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


def test_half_of_the_turns_are_without_the_check(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[bool] = []
    """Of each load."""
    load, start = PictureLoader.load, EntropyKernel.start

    def note_load(loader: PictureLoader, pictures: Sequence[JpegPicture]) -> object:
        checked.append(False)
        return load(loader, pictures)

    def note_check(kernel: EntropyKernel, jpegs: Sequence[CheckedJpeg]) -> None:
        checked[-1:] = [True] * len(checked[-1:])
        start(kernel, jpegs)

    monkeypatch.setattr(pipeline, "DIFFERENT_PICTURES", 2)
    monkeypatch.setattr(PictureLoader, "load", note_load)
    monkeypatch.setattr(EntropyKernel, "start", note_check)
    found = entropy_time.measure(64, [1, 3], pairs=4, seconds=0)
    for batch in ("1", "3"):
        assert found[batch]["right"]
        assert [len(found[batch]["rates"][name]) for name in ("with", "without")] == [4, 4]
        assert min(found[batch]["kernel_us"], found[batch]["check_us"]) > 0
        assert found[batch]["ratio"]["pairs"] == 4
    assert checked[-8:] == [True, False, False, True] * 2
