"""benchmarks.gpu.steps: every command can be run, and measurements load the plans that earlier steps built."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from azaion_engine.settings import DetectorSettings
from benchmarks.gpu.files import CHAOS, RATES, Files
from benchmarks.gpu.host import ROOT
from benchmarks.gpu.steps import Step, build_command, chosen, cpu_steps, gpu_steps
from tests.chaos.service import SIDE

PLAN_KEYS = ("model", "cache_dir", "height", "width", "batch_size", "optimization_level", "precision")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    model = tmp_path / "random.onnx"
    model.write_bytes(b"any")
    return Files(tmp_path / "out", model)


def all_steps(files: Files) -> list[Step]:
    on_cpu = Files(files.out, files.model, "onnx")
    found = {step.command: step for step in (*gpu_steps(files, 2), *gpu_steps(files, 1), *cpu_steps(on_cpu))}
    return list(found.values())


def plan_settings(settings: dict[str, Any]) -> dict[str, Any]:
    checked = DetectorSettings(**{key: settings[key] for key in PLAN_KEYS if key in settings})
    return checked.model_dump(include=set(PLAN_KEYS))


def built(step: Step) -> dict[str, Any]:
    command = list(step.command)
    pairs = [one.split("=", 1) for flag, one in pairwise(command) if flag == "--set"]
    cache = command[command.index("--cache-dir") + 1]
    settings = {key: yaml.safe_load(value) for key, value in pairs}
    return plan_settings({"model": command[3], "cache_dir": cache, **settings})


def test_every_module_takes_its_arguments(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    import argparse

    class Parsed(Exception):
        pass

    parse = argparse.ArgumentParser.parse_args

    def only_parse(self: argparse.ArgumentParser, *given: Any) -> None:
        parse(self, *given)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
    checked = 0
    for step in all_steps(files):
        assert step.command[0] == "-m"
        module, arguments = step.module, list(step.command[2:])
        if module in ("pytest", "azaion_cli"):
            continue
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        with pytest.raises(Parsed):
            importlib.import_module(module).main()
        checked += 1
    assert checked > 15


def test_azaion_build_and_pytest_take_their_arguments(files: Files) -> None:
    from azaion_cli.app import app

    plans = [step for step in gpu_steps(files, 2) if step.module == "azaion_cli"]
    assert [step.name for step in plans] == ["plan_chaos", "plan_demo", "plan_rates", "plan_small", "plan_raw"]
    for step in plans:
        result = CliRunner().invoke(app, [*step.command[2:], "--help"])
        assert result.exit_code == 0, result.output
    tests = [step for step in gpu_steps(files, 2) if step.module == "pytest"]
    for step in tests:
        folders = [word for word in step.command if word.startswith("tests/")]
        assert folders
        assert [folder for folder in folders if not (ROOT / folder).exists()] == []
        options = [word for word in step.command if word not in folders]
        without_tests = [sys.executable, *options, "tests/benchmarks/gpu/made.py"]
        done = subprocess.run(without_tests, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 5, done.stdout + done.stderr
    assert len(tests) == 2


def test_every_file_with_tests_for_a_gpu_is_run(files: Files) -> None:
    run = [ROOT / word for step in gpu_steps(files, 2) for word in step.command if word.startswith("tests/")]
    for path in (ROOT / "tests").rglob("test_*.py"):
        if re.search(r"mark\.gpu|import .*\bCuda\b", path.read_text()):
            assert any(path.is_relative_to(folder) for folder in run), path


def test_measurements_load_the_plans_that_were_built(files: Files) -> None:
    files.write()
    steps = {step.name: step for step in gpu_steps(files, 2)}

    def args(path: Path) -> dict[str, Any]:
        return dict(yaml.safe_load(path.read_text())["applications"][0]["args"])

    rates, demo = built(steps["plan_rates"]), built(steps["plan_demo"])
    assert plan_settings(args(files.rates_config)) == rates
    for name in ("in_process", "start", "gpu_tiles"):
        assert str(files.rates_config) in steps[name].command
    for name, plan in (("batch", rates), ("batch_640", built(steps["plan_small"]))):
        given = dict(one.split("=", 1) for one in steps[name].command if "=" in one)
        assert plan_settings({key: yaml.safe_load(value) for key, value in given.items()}) == plan
    swap = args(files.swap_config)
    [one] = swap.pop("models").values()
    assert plan_settings({**swap, **one}) == demo
    assert plan_settings(args(files.mine)) == demo
    raw = list(steps["raw_head"].command)
    assert (raw[raw.index("--size") + 1], raw[raw.index("--batch") + 1]) == ("1280", "16")
    assert RATES["optimization_level"] == 1, "as raw_head builds"
    assert raw[raw.index("--cache") + 1] == str(files.cache)
    assert built(steps["plan_raw"])["model"] == str(files.raw)


def test_the_plan_of_chaos_is_the_one_that_its_tests_open(files: Files) -> None:
    files.write()
    steps = {step.name: step for step in gpu_steps(files, 2)}
    assert CHAOS["height"] == CHAOS["width"] == SIDE
    text = (ROOT / "tests/chaos/two_gpus.py").read_text() + (ROOT / "tests/chaos/gpu.py").read_text()
    assert text.count(f'"batch_size": {CHAOS["batch_size"]}, "optimization_level": {CHAOS["optimization_level"]}') == 2
    assert text.count('options.cache / "chaos.onnx"') == 2
    assert built(steps["plan_chaos"])["model"] == str(files.cache / "chaos.onnx")


def test_each_measurement_needs_its_plan(files: Files) -> None:
    needs = {step.name: step.needs for step in gpu_steps(files, 2)}
    for name in ("in_process", "gpu_tiles", "start", "batch"):
        assert needs[name] == ("plan_rates",)
    assert needs["batch_640"] == ("plan_small",)
    assert needs["raw_head"] == ("plan_rates", "plan_raw")
    assert needs["chaos"] == needs["two_gpus"] == ("plan_chaos",)
    assert needs["swap"] == needs["tutorial"] == ("plan_demo",)


def test_swap_and_two_gpus_have_the_host_for_themselves(files: Files) -> None:
    alone = {step.name for step in gpu_steps(files, 2) if step.is_alone}
    assert {"swap", "two_gpus"} <= alone
    assert "--workers 1,2" in shlex.join(next(s for s in gpu_steps(files, 2) if s.name == "batch").command)
    assert "--workers 1 " in shlex.join(next(s for s in gpu_steps(files, 1) if s.name == "batch").command)


def test_without_a_model_the_demo_is_measured_and_nothing_is_made_of_it(tmp_path: Path) -> None:
    files = Files(tmp_path)
    names = [step.name for step in gpu_steps(files, 2)]
    assert not {"lively", "twin", "plan_raw", "raw_head"} & {*names}
    assert built(next(step for step in gpu_steps(files, 2) if step.name == "plan_rates"))["model"] == str(files.demo)


def test_models_of_other_content_have_other_names(tmp_path: Path) -> None:
    model = tmp_path / "yolo.onnx"
    model.write_bytes(b"one")
    one = Files(tmp_path, model).lively
    model.write_bytes(b"two")
    assert Files(tmp_path, model).lively != one
    assert one.name.startswith("yolo-")


def test_what_earlier_runs_built_is_read_from_their_records(files: Files) -> None:
    files.out.mkdir()
    built, failed = ({"command": ["-m", name], "exit_code": code} for name, code in (("built", 0), ("failed", 1)))
    (files.out / "steps-1.json").write_text(json.dumps({"steps": [built, failed]}))
    (files.out / "steps-2.json").write_text('{"steps": [{"comm')
    assert files.succeeded() == {("-m", "built")}
    plans = {step.name for step in gpu_steps(files, 2) if step.is_kept}
    assert plans == {"plan_chaos", "plan_demo", "plan_rates", "plan_small", "plan_raw"}


def test_a_chosen_step_brings_what_it_needs(files: Files) -> None:
    steps = gpu_steps(files, 1)
    assert [step.name for step in chosen(steps, ["raw_head"])] == [
        "lively",
        "twin",
        "plan_rates",
        "plan_raw",
        "raw_head",
    ]
    with pytest.raises(ValueError, match="no step 'plans' here, there are lively, "):
        chosen(steps, ["plans"])


def test_no_step_on_the_cpu_asks_for_a_gpu(files: Files) -> None:
    steps = cpu_steps(Files(files.out, files.model, "onnx"))
    assert {"in_process", "gpu_tiles", "batch", "swap", "two_gpus"} <= {step.name for step in steps}
    assert {step.gpus for step in steps} == {0}
    assert [step.name for step in steps if "tensorrt" in shlex.join(step.command)] == []


def test_the_build_command_names_every_setting(tmp_path: Path) -> None:
    command = build_command(tmp_path / "a.onnx", tmp_path / "cache", {"height": 64, "batch_size": 2})
    assert command[3:] == (
        str(tmp_path / "a.onnx"), "--cache-dir", str(tmp_path / "cache"), "--set", "height=64", "--set", "batch_size=2",
    )  # fmt: skip
