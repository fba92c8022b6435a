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
from deployments.errors import UnknownModelError
from tests.azaion_cli.conftest import Ran
from tests.stand_in import grey_picture

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
        (UnknownModelError, ExitCode.USAGE),
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
        ["detect", ".", "--set", "model=nothing-here.onnx"],
        ["detect", ".", "--confidence", "0.5", "--set", "confidence=0.1"],
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


def in_shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of the shell, whose `$azaion` is the command."""
    more = {**environment, "azaion": f"{sys.executable} -m azaion_cli"}
    return subprocess.run(["sh", "-c", line], capture_output=True, encoding="latin-1", env={**os.environ, **more})


@pytest.mark.parametrize("to", [">&-", ">/dev/full"])
def test_output_that_nothing_takes_is_one_line_and_exit_code_3(to: str) -> None:
    for command in ("--version", "cache ls --json"):
        done = in_shell(f"$azaion {command} {to}")
        assert (done.returncode, done.stderr.count("\n")) == (ExitCode.ENVIRONMENT, 1), done.stderr
        assert "[Errno " in done.stderr


def test_closed_streams_that_a_command_does_not_need_are_no_error(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(grey_picture(0))
    out = tmp_path / "out.jsonl"
    done = in_shell(f"$azaion detect {tmp_path}/a.png -m {tiny} --engine onnx -o {out} <&- >&- 2>&-")
    assert (done.returncode, out.read_text().count("\n")) == (ExitCode.OK, 1)
    done = in_shell(f"$azaion detect - -m {tiny} --engine onnx <&-")
    assert done.returncode == ExitCode.PICTURES_FAILED
    assert "error: -: cannot be read: " in done.stderr


def test_letters_that_stdout_lacks_are_escaped(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "Łódź 1.png").write_bytes(grey_picture(0))
    detect = f"$azaion detect {tmp_path} -m {tiny} --engine onnx -c 0"
    rows = in_shell(f"{detect} -f csv", PYTHONIOENCODING="latin-1:strict")
    assert (rows.returncode, "\\u0141ód\\u017a 1.png," in rows.stdout) == (ExitCode.OK, True)
    document = in_shell(f"{detect} -f coco", PYTHONIOENCODING="ascii:strict")
    assert json.loads(document.stdout)["images"][0]["file_name"] == "Łódź 1.png"


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
