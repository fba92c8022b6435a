"""Opening a model: which file it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from azaion_engine.errors import ConfigurationError, ModelError
from azaion_engine.model.file import ModelFile
from azaion_engine.opening.model import open_model
from azaion_engine.settings import DetectorSettings
from tests.azaion_engine.models import make_detector

MODEL = ModelFile("tiny", make_detector())


def test_a_file_that_is_no_longer_the_deployed_model_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "own.onnx"
    model.write_bytes(MODEL.data)
    settings = DetectorSettings(model=str(model), engine="onnx", model_sha256=MODEL.sha256)
    open_model(settings).engine.close()
    for content in (ModelFile.read("demo").data, MODEL.data[: len(MODEL.data) // 2], MODEL.data + b"\0"):
        model.write_bytes(content)
        with pytest.raises(ModelError, match=r"own\.onnx"):
            open_model(settings)
    model.write_bytes(ModelFile.read("demo").data)
    with pytest.raises(ModelError, match=f"not the model that was deployed: .* expected {MODEL.sha256}; put that file"):
        open_model(settings)
    model.unlink()
    with pytest.raises(ConfigurationError, match=r"own\.onnx"):
        open_model(settings)
