"""`azaion build`: into the cache on a fake GPU, and into a file with the real TensorRT-RTX."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azaion_cli.exit_codes import ExitCode
from azaion_engine.plans.manifest import PlanManifest
from tests.azaion_cli.conftest import Ran, on_terminal
from tests.azaion_engine.models import make_detector
from tests.azaion_engine.real_rtx import install_rtx

Cli = Callable[..., Ran]


@pytest.fixture
def rtx(monkeypatch: pytest.MonkeyPatch, no_gpu: None) -> Any:
    """The real TensorRT-RTX, without a GPU."""
    return install_rtx(monkeypatch)


def test_builds_once_into_the_cache_that_the_server_reads(azaion: Cli, h200: Any, tiny: Path, tmp_path: Path) -> None:
    arguments = ("build", tiny, "--cache-dir", tmp_path / "cache", "--batch-size", 2, "--json")
    first, second = azaion(*arguments), azaion(*arguments)
    assert (first.code, second.code) == (ExitCode.OK, ExitCode.OK), first.err
    assert (first.json["action"], second.json["action"]) == ("built", "loaded")
    assert len(h200.builds) == 1
    plan = Path(first.json["path"])
    assert plan.name == "azaion.cc_9.0_sm_132.engine"
    assert plan.stat().st_size == first.json["bytes"]
    assert "no plan stored yet" in first.json["reason"]
    other = azaion("build", tiny, "--cache-dir", tmp_path / "cache", "--batch-size", 2, "--precision", "fp32")
    assert other.out.startswith("built ")
    assert len(h200.builds) == 2


def test_an_output_file_gets_its_manifest_where_there_is_a_gpu(
    azaion: Cli, h200: Any, tiny: Path, tmp_path: Path
) -> None:
    ran = azaion("build", tiny, "--output", tmp_path / "tiny.engine", "--set", "optimization_level=1")
    assert ran.code == ExitCode.OK, ran.err
    manifest = PlanManifest.from_json((tmp_path / "tiny.engine.json").read_bytes())
    assert manifest.key.gpu_name == "NVIDIA H200"
    assert manifest.key.optimization_level == 1
    assert manifest.fault_of((tmp_path / "tiny.engine").read_bytes()) == ""


def test_without_a_gpu_the_cache_is_refused_and_a_file_is_built(
    azaion: Cli, rtx: Any, tiny: Path, tmp_path: Path
) -> None:
    refused = azaion("build", tiny, "--cache-dir", tmp_path / "cache")
    assert refused.code == ExitCode.ENVIRONMENT
    assert refused.err.count("\n") == 1
    assert "--output" in refused.err
    built = azaion("build", tiny, "--output", tmp_path / "tiny.engine", "--batch-size", 2)
    assert built.code == ExitCode.OK, built.err
    assert (tmp_path / "tiny.engine").stat().st_size > 10_000
    assert not (tmp_path / "tiny.engine.json").exists(), "nobody knows the GPU"
    assert "building TensorRT engine" in built.err, "no terminal: progress is lines"
    assert azaion("build", tiny, "--output", tmp_path / "no" / "x.engine").code == ExitCode.USAGE


def test_the_model_is_never_replaced_by_its_engine(azaion: Cli, rtx: Any, tiny: Path) -> None:
    before = tiny.read_bytes()
    ran = azaion("build", tiny, "--output", tiny)
    assert (ran.code, "inputs are never replaced" in ran.err) == (ExitCode.USAGE, True)
    assert tiny.read_bytes() == before


def test_a_model_that_tensorrt_refuses_is_one_line_with_the_node(azaion: Cli, rtx: Any, tmp_path: Path) -> None:
    model = tmp_path / "odd.onnx"
    model.write_bytes(make_detector(unknown_op=True))
    ran = azaion("build", model, "--output", tmp_path / "odd.engine")
    assert ran.code == ExitCode.MODEL
    errors = [line for line in ran.err.splitlines() if not line.startswith("info: ")]
    assert len(errors) == 1
    assert "/head/mystery" in errors[0]


def test_a_terminal_shows_a_bar_that_moves_with_tensorrts_own_progress(tiny: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['pycuda'] = sys.modules['tensorrt'] = None\n"
        "from azaion_cli.app import main\n"
        f"sys.exit(main(['build', 'demo', '--output', {str(tmp_path / 'tiny.engine')!r}]))"
    )
    process, out, shown = on_terminal([sys.executable, "-c", code], columns=160)
    assert process.returncode == ExitCode.OK, shown
    assert out.startswith(b"built ")
    text = shown.decode()
    assert "choosing kernels" in text
    assert "0:00:0" in text, "no elapsed time"
    percentages = {part.split()[-1] for part in text.split("%")[:-1] if part.split()}
    assert len(percentages) > 1, f"the bar did not move: {percentages}"
