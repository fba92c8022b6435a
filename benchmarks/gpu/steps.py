"""Steps: the commands that make the records of a GPU host, in the order in which they are started."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from azaion_engine.model.file import SAMPLES
from benchmarks.gpu.files import CHAOS, QUICK, SMALL, Files

_LAST_TEST_S = 150.0
"""Time limit of one test, and of the last one beyond the session's."""
_LIBRARY_TESTS = (
    "tests/azaion_engine/cuda",
    "tests/azaion_engine/engines",
    "tests/azaion_engine/heads/gpu",
    "tests/azaion_engine/pictures/gpu",
    "tests/benchmarks/library/test_entropy_time.py",
)
_SERVICE_TESTS = ("tests/azaion_batch/test_on_gpu.py", "tests/deployments/multiplexing", "tests/deployments/versions")
"""What has tests for a GPU: other tests import what a GPU host may lack, as a browser, and none would run then."""
_SAMPLE = Path(__file__).parents[2] / "azaion_engine" / "data" / SAMPLES[0]


@dataclass(frozen=True)
class Step:
    """One command, which runs on one GPU with a share of the cores, or alone on the host.

    Attributes:
        name: Of its files, `NAME.txt` and `NAME.json`.
        command: What follows the interpreter: `-m`, the module and its arguments.
        seconds: Its time limit.
        needs: Names of steps that must have succeeded before: they make its model or its plan.
        gpus: GPUs that the host must have.
        is_alone: Whether nothing runs beside it, so that it has every GPU and every core.
        uses_ray: Whether it starts Ray; a host has one Ray at a time.
        makes: File that it makes, if it need not run again once that is there.
        is_kept: Whether it need not run again after a success in an earlier run: its plan is in the cache.
    """

    name: str
    command: tuple[str, ...]
    seconds: float
    needs: tuple[str, ...] = ()
    gpus: int = 1
    is_alone: bool = False
    uses_ray: bool = False
    makes: Path | None = None
    is_kept: bool = False

    @property
    def module(self) -> str:
        """The module that it runs."""
        return self.command[1]


def gpu_steps(files: Files, gpus: int) -> list[Step]:
    """Returns the steps of a host with GPUs.

    Models, plans and tests come first: tests take one GPU while plans are built on the other. Measurements follow.

    Args:
        files: Models, plans and configurations.
        gpus: GPUs of the host.
    """
    rates = ("plan_rates",)
    both_plans = ("plan_rates", "plan_raw")
    workers = ("--rounds", "3", "--seconds", "8", "--workers", "1,2" if gpus > 1 else "1")
    batch = ("--pictures", "60000", *workers, *_batch_settings(files, files.lively, files.rates))
    small = ("--pictures", "100000", "--size", "640", *workers, *_batch_settings(files, files.small, SMALL))
    return [
        *_model_steps(files),
        _plan("plan_chaos", files, files.chaos, CHAOS, 240),
        _pytest("pytest_library", 450, *_LIBRARY_TESTS),
        _plan("plan_demo", files, files.demo, QUICK, 240),
        _plan("plan_rates", files, files.lively, files.rates, 480, ("lively",) if files.model else ()),
        _plan("plan_small", files, files.small, SMALL, 240),
        *([_plan("plan_raw", files, files.raw, files.rates, 480, ("twin",))] if files.model else []),
        replace(_pytest("pytest_service", 480, *_SERVICE_TESTS), uses_ray=True),
        _measured("in_process", files, "benchmarks.library.in_process", 90, str(files.rates_config), needs=rates),
        _measured("gpu_tiles", files, "benchmarks.library.gpu_tiles", 180, *_tiles_settings(files), needs=rates),
        *([_raw_head(files, 120, "--cache", str(files.cache), needs=both_plans)] if files.model else []),
        _measured("start", files, "benchmarks.library.start", 150, str(files.rates_config), needs=rates),
        _measured("entropy_time", files, "benchmarks.library.entropy_time", 120),
        replace(
            _measured("chaos", files, "tests.chaos.gpu", 240, "--cache", str(files.cache), needs=("plan_chaos",)),
            uses_ray=True,
        ),
        replace(_tutorial(files, 180), needs=("plan_demo",)),
        _on_the_whole_host(_measured("batch", files, "benchmarks.library.batch", 360, *batch, needs=rates)),
        _on_the_whole_host(
            _measured("batch_640", files, "benchmarks.library.batch", 360, *small, needs=("plan_small",))
        ),
        _on_the_whole_host(replace(_swap(files, 240), needs=("plan_demo",))),
        _on_the_whole_host(
            replace(_two_gpus(files, 300, "--cache", str(files.cache)), gpus=2, needs=("plan_chaos",))
        ),
    ]  # fmt: skip


def cpu_steps(files: Files) -> list[Step]:
    """Returns the steps that need no GPU, with small numbers: they try the commands, their figures mean nothing."""
    batch = (
        "--pictures", "32", "--size", str(files.rates["height"]), "--rounds", "1", "--seconds", "2",
        "--part-pictures", "8", *_batch_settings(files, files.lively, files.rates),
    )  # fmt: skip
    tiles = (*_tiles_settings(files), "--picture", str(_SAMPLE), "--tiles", "320", "--turns", "1", "--seconds", "1")
    raw_head = ("--engine", "onnx", "--rounds", "2", "--seconds", "0.1")
    made = ("lively",) if files.model else ()
    steps = [
        *_model_steps(files),
        _measured(
            "in_process", files, "benchmarks.library.in_process", 120, str(files.rates_config), "--seconds", "2",
            needs=made,
        ),
        _measured("gpu_tiles", files, "benchmarks.library.gpu_tiles", 180, *tiles, needs=made),
        *([_raw_head(files, 180, *raw_head, needs=("lively", "twin"))] if files.model else []),
        _on_the_whole_host(_measured("batch", files, "benchmarks.library.batch", 240, *batch, needs=made)),
        _on_the_whole_host(_tutorial(files, 180)),
        _on_the_whole_host(_swap(files, 240)),
        _on_the_whole_host(_two_gpus(files, 420, "--cpu")),
    ]  # fmt: skip
    return [replace(step, gpus=0) for step in steps]


def chosen(steps: Sequence[Step], names: Iterable[str]) -> list[Step]:
    """Returns the steps of these names and those that they need, in their order.

    Raises:
        ValueError: There is no step of a name.
    """
    by_name = {step.name: step for step in steps}
    wanted: set[str] = set()
    open_names = list(names)
    while open_names:
        name = open_names.pop()
        if name not in by_name:
            raise ValueError(f"no step {name!r} here, there are {', '.join(by_name)}")
        wanted.add(name)
        open_names += [need for need in by_name[name].needs if need not in wanted]
    return [step for step in steps if step.name in wanted]


def build_command(model: Path, cache: Path, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the command of `azaion build` that keeps a model's plan.

    Args:
        model: ONNX file.
        cache: Folder of the plans.
        settings: Keys of `DetectorSettings` that decide which plan it is.
    """
    pairs = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return ("-m", "azaion_cli", "build", str(model), "--cache-dir", str(cache), *pairs)


def _model_steps(files: Files) -> list[Step]:
    """Returns the steps that make the two models of `--model`; the demo is trained, and has another head's graph."""
    if files.model is None:
        return []
    size = [part for side in ("height", "width") for part in (f"--{side}", str(files.rates[side]))]
    lively = ("-m", "benchmarks.library.lively_model", str(files.model), str(files.lively), *size)
    twin = ("-m", "benchmarks.library.raw_head", "twin", str(files.lively), str(files.raw))
    return [
        Step("lively", lively, 240, makes=files.lively),
        Step("twin", twin, 60, needs=("lively",), makes=files.raw),
    ]


def _plan(
    name: str, files: Files, model: Path, settings: Mapping[str, Any], seconds: float, needs: tuple[str, ...] = ()
) -> Step:
    return Step(name, build_command(model, files.cache, settings), seconds, needs, is_kept=True)


def _pytest(name: str, seconds: float, *folders: str) -> Step:
    # Its own timeout comes first: pytest then tells the failures so far. Of one that hangs, `-v` has told the name.
    timeouts = (f"--session-timeout={seconds - _LAST_TEST_S:g}", f"--timeout={_LAST_TEST_S:g}")
    options = ("-m", "gpu", "-v", *timeouts, "-p", "no:xdist", "-p", "no:cacheprovider")
    return Step(name, ("-m", "pytest", *options, *folders), seconds)


def _measured(
    name: str, files: Files, module: str, seconds: float, *arguments: str, needs: tuple[str, ...] = ()
) -> Step:
    return Step(name, ("-m", module, *arguments, "--json", str(files.record(name))), seconds, needs)


def _on_the_whole_host(step: Step) -> Step:
    return replace(step, is_alone=True, uses_ray=True)


def _raw_head(files: Files, seconds: float, *arguments: str, needs: tuple[str, ...]) -> Step:
    size, batch = str(files.rates["height"]), str(files.rates.get("batch_size", 1))
    models = ("rate", str(files.lively), str(files.raw), "--size", size, "--batch", batch)
    return _measured("raw_head", files, "benchmarks.library.raw_head", seconds, *models, *arguments, needs=needs)


def _tutorial(files: Files, seconds: float) -> Step:
    engine = ("--engine", files.engine)
    return replace(
        _measured("tutorial", files, "benchmarks.gpu.tutorial", seconds, str(files.mine), *engine), uses_ray=True
    )


def _swap(files: Files, seconds: float) -> Step:
    return _measured("swap", files, "benchmarks.gpu.swap", seconds, str(files.swap_config))


def _two_gpus(files: Files, seconds: float, *arguments: str) -> Step:
    return _measured("two_gpus", files, "tests.chaos.two_gpus", seconds, *arguments)


def _tiles_settings(files: Files) -> tuple[str, ...]:
    return ("--settings", str(files.rates_config))


def _batch_settings(files: Files, model: Path, rates: Mapping[str, Any]) -> tuple[str, ...]:
    settings = {"model": model, "engine": files.engine, "cache_dir": files.cache, **rates}
    return ("--settings", *(f"{key}={value}" for key, value in settings.items()))
