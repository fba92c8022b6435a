"""The command as a whole: help, version, exit codes, errors, completion, and modules imported at start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import azaion_engine
from azaion_cli import app
from azaion_cli.exit_codes import ExitCode, exit_code_of
from azaion_engine import errors
from tests.azaion_cli.conftest import Ran

Cli = Callable[..., Ran]
HEAVY = ("numpy", "cv2", "PIL", "onnx", "onnxruntime", "pydantic_core", "tensorrt", "tensorrt_rtx", "pycuda", "ray")


def test_help_and_version_import_nothing_heavy_and_name_the_exit_codes() -> None:
    code = (
        "import sys\n"
        "from azaion_cli.app import main\n"
        "assert main(['--help']) == main(['--version']) == main(['detect', '--help']) == 0\n"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Not pydantic: some versions of Typer import it themselves.
    assert done.stdout.splitlines()[-1] in ("[]", "['pydantic_core']")
    assert f"azaion-engine {azaion_engine.__version__}" in done.stdout
    for word in ("doctor", "build", "inspect", "detect", "eval", "bench", "serve", "cache", "Exit codes", "--every"):
        assert word in done.stdout


def test_the_module_runs_as_the_command_and_completes_in_a_shell() -> None:
    version = subprocess.run([sys.executable, "-m", "azaion_cli", "--version"], capture_output=True, check=True)
    assert version.stdout.startswith(b"azaion-engine ")
    environment = {**os.environ, "_AZAION_COMPLETE": "complete_bash", "COMP_WORDS": "azaion de", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-m", "azaion_cli"], capture_output=True, text=True, env=environment)
    assert "detect" in done.stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidParameterError, ExitCode.USAGE),
        (errors.ConfigurationError, ExitCode.ENVIRONMENT),
        (errors.MissingDependencyError, ExitCode.ENVIRONMENT),
        (errors.GpuLostError, ExitCode.ENVIRONMENT),
        (errors.CacheError, ExitCode.ENVIRONMENT),
        (errors.UndecodablePictureError, ExitCode.PICTURES_FAILED),
        (errors.ModelError, ExitCode.MODEL),
        (errors.EngineBuildError, ExitCode.MODEL),
        (errors.PlanError, ExitCode.MODEL),
    ],
)
def test_every_kind_of_error_has_its_exit_code(error: type[errors.AzaionError], code: ExitCode) -> None:
    assert exit_code_of(error("what happened")) == code


@pytest.mark.parametrize(
    "arguments",
    [
        ["detect", "--wrong", "x.jpg"],
        ["wrong"],
        ["cache", "nothing"],
        ["detect", "nothing-here.jpg"],
        ["detect", ".", "--confidence", "2"],
        ["detect", ".", "--format", "xml"],
        ["build", "nothing-here.onnx"],
        ["inspect", "nothing-here"],
        ["inspect", ".", "--model", "nothing-here.onnx"],
        ["bench", "demo", "--set", "modle=x"],
        ["bench", "demo", "--set", "precision"],
        ["bench", "demo", "--set", "batch_size=[1"],
        ["serve", "nothing-here.yaml"],
        ["eval", "demo"],
        ["eval", "nothing-here.onnx", "--data", "."],
        ["eval", "demo", "--data", "nothing-here"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_exit_code_2(azaion: Cli, arguments: list[str]) -> None:
    ran = azaion(*arguments)
    assert (ran.code, ran.out) == (ExitCode.USAGE, "")
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    as_json = azaion(*arguments, "--json")
    assert as_json.code == ExitCode.USAGE
    assert json.loads(as_json.err)["error"]["code"] == "usage"


def test_an_expected_error_is_one_line_and_a_traceback_only_when_asked_for(azaion: Cli, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model at all")
    ran = azaion("inspect", broken)
    assert (ran.code, ran.err.count("\n")) == (ExitCode.MODEL, 1)
    assert "not an ONNX file" in ran.err
    assert json.loads(azaion("inspect", broken, "--json").err)["error"]["code"] == "model_unsupported"
    verbose = azaion("inspect", broken, "--verbose")
    assert verbose.code == ExitCode.MODEL
    assert "Traceback" in verbose.err


@pytest.mark.parametrize(
    ("raised", "code"), [(RuntimeError("boom"), ExitCode.BUG), (KeyboardInterrupt(), ExitCode.INTERRUPTED)]
)
def test_bugs_and_interrupts_have_exit_codes_of_their_own(
    azaion: Cli, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: ExitCode
) -> None:
    def fail(**_: object) -> None:
        raise raised

    monkeypatch.setattr(app, "app", fail)
    assert azaion("doctor").code == code
