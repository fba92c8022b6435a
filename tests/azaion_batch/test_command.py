"""The command without Ray: wrong sources, a job with nothing left, and what is said on the way."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from azaion_batch import cluster
from azaion_batch.job import Job
from azaion_batch.parts import Part
from azaion_cli.detecting import batch_report
from azaion_cli.detecting.batch_report import BatchReport
from azaion_cli.exit_codes import ExitCode
from tests.azaion_batch.conftest import Run, lines_of

Cli = Callable[..., Any]


@pytest.fixture(autouse=True)
def ray_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: str | None) -> None:
        raise AssertionError("Ray is not needed")

    monkeypatch.setattr(cluster, "running_ray", refuse)


@pytest.mark.parametrize("source", ["nowhere", "ftp://host/a.png", "-"])
def test_a_wrong_source_is_wrong_usage(azaion: Cli, tiny: Path, tmp_path: Path, source: str) -> None:
    ran = azaion("batch", source, "--out", tmp_path / "out", "-m", tiny)
    assert ran.code == ExitCode.USAGE
    assert "SOURCES" in ran.err


@pytest.mark.parametrize(("option", "metres"), [("--gsd", "-1"), ("--gsd", "nan"), ("--scene-gsd", "0")])
def test_a_wish_that_no_scene_could_follow_is_wrong_usage_whatever_the_sources(
    azaion: Cli, pictures: Path, tiny: Path, tmp_path: Path, option: str, metres: str
) -> None:
    ran = azaion("batch", pictures, "--out", tmp_path / "out", "-m", tiny, option, metres)
    assert ran.code == ExitCode.USAGE
    assert f"{option[2:].replace('-', '_')}: expected metres above 0" in ran.err
    assert not (tmp_path / "out").exists()


def test_nothing_left_starts_no_ray_and_still_writes_the_document(
    azaion: Cli, run: Run, pictures: Path, tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run([pictures], out)
    command = ("batch", pictures, "--out", out, "-m", tiny, "--engine", "onnx", "-c", 0, "--format", "jsonl")
    ran = azaion(*command, "--json")
    assert ran.code == ExitCode.OK
    summary = json.loads(ran.err)["summary"]
    assert (summary["sources"], summary["done_before"], summary["pictures"]) == (9, 9, 0)
    assert len(lines_of(out / "detections.jsonl")) == 9


def test_a_picture_that_is_gone_when_the_map_is_made_is_told(
    azaion: Cli, run: Run, pictures: Path, tiny: Path, tmp_path: Path
) -> None:
    listed, out = tmp_path / "list.txt", tmp_path / "out"
    listed.write_text("pictures/1.png\npictures/2.png\n")
    run([listed], out)
    (pictures / "1.png").unlink()
    command = ("batch", listed, "--out", out, "-m", tiny, "--engine", "onnx", "-c", 0, "--format", "geojson")
    ran = azaion(*command)
    assert ran.code == ExitCode.PICTURES_FAILED
    assert f"{pictures / '1.png'}: its place on the map is not known" in ran.err
    assert "1 failed" in ran.err
    [failure] = lines_of(out / "failures.jsonl")
    assert failure["source"] == str(pictures / "1.png")


def test_without_the_extra_the_command_says_what_to_install(
    azaion: Cli, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    ran = azaion("batch", pictures, "--out", tmp_path / "out")
    assert ran.code == ExitCode.ENVIRONMENT
    assert "azaion-engine[batch]" in ran.err


def test_progress_has_rate_failures_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(batch_report.time, "monotonic", lambda: now)
    chunks = [SimpleNamespace(id=str(index), entries=range(100), kind="picture") for index in range(10)]
    job = cast("Job", SimpleNamespace(chunks=chunks, left=chunks[2:]))
    with BatchReport(job, as_json=False) as report:
        now = 20.0  # Ray and the engine start
        report.add(Part("2", 100, 500, 0, ()))
        now = 40.0
        report.add(Part("3", 98, 500, 2, (("a.jpg", "not_a_picture", "given no picture"),)))
    lines = capsys.readouterr().err.splitlines()
    assert "400 of 1000 sources, 5.0/s, 2 failed, 0:02:00 left" in lines[-2]
    assert any("a.jpg: given no picture" in line for line in lines)
    assert any("1 more failures" in line for line in lines)
    assert "198 pictures, 1000 boxes" in lines[-1]
    assert "200 of 1000 sources done before, 6 parts missing: run it again" in lines[-1]
