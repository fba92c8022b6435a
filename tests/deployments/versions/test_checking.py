"""A version is opened in a process of its own before a replica opens it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from azaion_engine.errors import EngineBuildError
from azaion_engine.plans.agreement import Agreement
from deployments.errors import VersionRefusedError
from deployments.settings import ServiceSettings
from deployments.versions.checking import agreement_of, check_model
from tests.azaion_engine.models import make_detector


def settings_of(path: Path, model: bytes) -> ServiceSettings:
    path.write_bytes(model)
    return ServiceSettings(model=str(path), engine="onnx", threads=1, name="cars")


def test_a_model_that_runs_is_let_through_and_one_that_cannot_says_why(tmp_path: Path) -> None:
    check_model(settings_of(tmp_path / "good.onnx", make_detector()))
    with pytest.raises(VersionRefusedError, match="Mystery"):
        check_model(settings_of(tmp_path / "bad.onnx", make_detector(unknown_op=True)))


def test_a_process_that_dies_is_told_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    died = tmp_path / "python"
    died.write_text("#!/bin/sh\necho 'out of memory' >&2\nkill -SEGV $$\n")
    died.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(died))
    with pytest.raises(VersionRefusedError, match=r"ended with signal 11: .*out of memory"):
        check_model(ServiceSettings(engine="onnx"))


@pytest.mark.parametrize(("matched", "refused"), [(9, False), (5, True)])
def test_an_engine_that_finds_other_boxes_than_onnx_runtime_is_refused(matched: int, refused: bool) -> None:
    made = Agreement(precision="fp16", boxes=10, matched=matched, largest_px=1.0, largest_confidence=0.01)
    detector: Any = SimpleNamespace(engine=SimpleNamespace(origin=SimpleNamespace(agreement=made)))
    if refused:
        with pytest.raises(EngineBuildError, match="5 of 10 boxes"):
            agreement_of(detector)
    else:
        assert agreement_of(detector).startswith("9 of 10 boxes as with ONNX Runtime")
