"""`azaion tune`: what it refuses, what it writes, and real tunings on the CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from azaion_cli.commands.service.tune import scaled_sample
from azaion_cli.exit_codes import ExitCode
from azaion_cli.tuning import tuner
from azaion_cli.tuning.client import Request
from azaion_cli.tuning.load import Level
from azaion_cli.tuning.service import NotServedError
from deployments.settings import ServiceSettings
from tests.azaion_cli.conftest import Ran

Cli = Callable[..., Ran]
ROOT = Path(__file__).parents[4]
FIRST = b'{"boxes": []}'


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("azaion_engine.system.cores.available_cores", lambda: 2)


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch, two_cores: None) -> list[dict[str, Any]]:
    """Replaces services and load: two replicas answer twice as many pictures as one, each in 80 ms."""
    begun: list[dict[str, Any]] = []

    @contextmanager
    def running(config: Any, replicas: int, picture: bytes, until: float) -> Iterator[tuple[Request, bytes]]:
        begun.append(config["applications"][0]["args"])
        if "fails" in str(config):
            raise NotServedError("out of GPU memory")
        yield Request("", replicas, "", picture), FIRST

    class Load:
        def __init__(self, cores: int) -> None: ...
        def __enter__(self) -> Load:
            return self

        def __exit__(self, *error: object) -> None: ...
        def put(self, request: Request, answers: Any, clients: int, seconds: float) -> Level:
            return Level(clients, 10.0 * min(clients, request.port), 80.0 * clients, 80.0 * clients, 80.0 * clients, 99)

    monkeypatch.setattr(tuner, "running_service", running)
    monkeypatch.setattr(tuner, "LoadGenerator", Load)
    return begun


def test_a_dry_run_lists_candidates_and_time(azaion: Cli, tiny: Path, tmp_path: Path, two_cores: None) -> None:
    common = ("tune", "-m", tiny, "--latency", 100, "--engine", "onnx", "--out", tmp_path / "out.yaml", "--dry-run")
    text = azaion(*common)
    assert text.code == ExitCode.OK
    for word in ("cpu_replicas  1, 2", "1, 2, 4", "about", "min"):
        assert word in text.out
    plan = azaion(*common, "--json", "--set", "batch_size=1").json
    assert (plan["cpu_replicas"], plan["batch_size"], plan["services"]) == ([1, 2], [1], 2)
    assert plan["estimated_s"] > 60
    assert os.listdir(tmp_path) == ["tiny.onnx"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--out", "there.yaml"], "--force"),
        (["--out", "no/folder.yaml"], "no such folder"),
        (["--set", "modle=x"], "modle"),
        (["--set", "autoscale.max_gpus=2"], "autoscale"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_cannot_end_well_is_refused_before_it_starts(
    azaion: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, services: list[Any], options: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.yaml").write_text("theirs")
    ran = azaion("tune", "--latency", 100, *options)
    assert (ran.code, services) == (ExitCode.USAGE, [])
    assert words in ran.err
    assert Path("there.yaml").read_text() == "theirs"


def test_on_a_gpu_its_batch_sizes_and_replicas_are_listed(
    azaion: Cli, tmp_path: Path, h200: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("azaion_engine.system.cores.available_cores", lambda: 16)
    monkeypatch.chdir(tmp_path)
    ran = azaion("tune", "--latency", 100, "--dry-run")
    assert ran.code == ExitCode.OK, ran.err
    for words in ("replicas_per_gpu  1, 4, 8", "1, 4, 8, 16, 32", "building engines"):
        assert words in ran.out
    assert "cpu_replicas" in azaion("tune", "--latency", 100, "--dry-run", "--set", "num_gpus=0").out


@pytest.mark.parametrize(("width", "height", "size"), [(64, 64, (64, 49)), (1600, 608, (800, 608))])
def test_the_sample_fills_the_networks_input_on_one_side(width: int, height: int, size: tuple[int, int]) -> None:
    with Image.open(BytesIO(scaled_sample(width, height))) as picture:
        assert (picture.format, picture.size) == ("JPEG", size)


def test_tensorrt_without_a_gpu_is_refused(azaion: Cli, tmp_path: Path, no_gpu: None) -> None:
    ran = azaion("tune", "--latency", 100, "--engine", "tensorrt", "--out", tmp_path / "out.yaml")
    assert ran.code == ExitCode.ENVIRONMENT


def test_the_best_candidate_within_the_bound_is_written(
    azaion: Cli, tiny: Path, tmp_path: Path, services: list[dict[str, Any]]
) -> None:
    out = tmp_path / "out.yaml"
    given = ("tune", "-m", tiny, "--latency", 200, "--engine", "onnx", "--set", "batch_size=1", "--out", out)
    ran = azaion(*given, "--json")
    assert ran.code == ExitCode.OK, ran.err
    assert ran.json["chosen"]["settings"] == {"cpu_replicas": 2, "batch_size": 1}
    assert (ran.json["chosen"]["clients"], ran.json["chosen"]["rate"], ran.json["complete"]) == (2, 20.0, True)
    config = yaml.safe_load(out.read_text())
    assert ServiceSettings(**config["applications"][0]["args"]) == ServiceSettings(
        model=str(tiny), engine="onnx", cpu_replicas=2, batch_size=1
    )
    assert config["http_options"]["port"] == 8000
    table = azaion(*given, "--force")
    assert [line.split()[:5] for line in table.out.splitlines()[1:]] == [
        ["1", "2", "1", "1", "10.0"],
        ["2", "1", "1", "2", "20.0"],
    ]
    assert table.out.splitlines()[2].endswith("best")


def test_if_no_setting_keeps_the_bound_the_exit_code_says_so(
    azaion: Cli, tiny: Path, tmp_path: Path, services: list[dict[str, Any]]
) -> None:
    out = tmp_path / "out.yaml"
    ran = azaion("tune", "-m", tiny, "--latency", 5, "--engine", "onnx", "--set", "batch_size=1", "--out", out)
    assert ran.code == ExitCode.BOUND_MISSED
    assert "no setting keeps the p99 within 5 ms" in ran.err
    assert "p99 above 5 ms" in ran.out
    assert yaml.safe_load(out.read_text())["applications"][0]["args"]["batch_size"] == 1


def test_candidates_that_do_not_start_are_rows_with_their_reason(
    azaion: Cli, tmp_path: Path, tiny: Path, services: list[dict[str, Any]]
) -> None:
    broken = tiny.rename(tmp_path / "fails.onnx")
    out = tmp_path / "out.yaml"
    ran = azaion("tune", "-m", broken, "--latency", 5, "--engine", "onnx", "--set", "batch_size=1", "--out", out)
    assert ran.out.count("out of GPU memory") == len(services) == 2
    assert ran.code == ExitCode.ENVIRONMENT
    assert not out.exists()


def test_a_spent_budget_ends_with_the_best_so_far(
    azaion: Cli, tiny: Path, tmp_path: Path, services: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 10))  # ten seconds each time that somebody looks
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    out = tmp_path / "out.yaml"
    given = ("tune", "-m", tiny, "--latency", 200, "--engine", "onnx", "--set", "batch_size=1", "--budget", 0.6)
    ran = azaion(*given, "--out", out)
    assert ran.code == ExitCode.OK, ran.err
    assert "the budget is spent" in ran.err
    assert [args["cpu_replicas"] for args in services] == [1]
    assert out.exists()


@contextmanager
def tuning(folder: Path, model: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "azaion_cli", "tune", "-m", str(model), "--engine", "onnx", "--latency", "5000"]
    command += ["--seconds", "0.5", "--set", "cpu_replicas=1", "--set", "batch_size=1", *options]
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)


@pytest.mark.usefixtures("no_ray")
def test_a_real_tuning_writes_a_configuration_of_what_it_measured(tiny: Path, tmp_path: Path) -> None:
    with tuning(tmp_path, tiny, "--json") as process:
        out, err = process.communicate(timeout=250)
    assert process.returncode == ExitCode.OK, err
    [candidate] = json.loads(out)["candidates"]
    assert [level["clients"] for level in candidate["levels"]][:2] == [1, 2]
    assert all(level["rate"] > 0 and not level["errors"] for level in candidate["levels"]), candidate
    args = yaml.safe_load((tmp_path / "serve_config.yaml").read_text())["applications"][0]["args"]
    assert args == {"model": str(tiny), "engine": "onnx", "cpu_replicas": 1, "batch_size": 1}


@pytest.mark.usefixtures("no_ray")
def test_an_interrupt_leaves_nothing_running_and_shows_what_was_measured(tiny: Path, tmp_path: Path) -> None:
    with tuning(tmp_path, tiny, "--seconds", "3") as process:
        assert process.stderr is not None
        while "1 client:" not in process.stderr.readline():
            assert process.poll() is None
        family = descendants(process.pid)
        assert len(family) > 5
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
    assert process.returncode == ExitCode.INTERRUPTED, err
    assert "Traceback" not in err
    assert len(out.splitlines()) == 2
    assert out.splitlines()[1].split()[:4] == ["1", str(len(os.sched_getaffinity(0))), "1", "1"]
    deadline = time.monotonic() + 5  # a helper of multiprocessing ends by itself, just after the command
    while any(map(is_running, family)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in family if is_running(pid)]
    assert os.listdir(tmp_path) == ["tiny.onnx"]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def descendants(pid: int) -> list[int]:
    found = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return found + [below for child in found for below in descendants(child)]
