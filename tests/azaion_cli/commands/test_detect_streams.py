"""`azaion detect` on live streams, from a real RTSP server where there is one."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from azaion_cli.exit_codes import ExitCode
from azaion_engine.detector import Detector
from tests.azaion_cli.conftest import Ran
from tests.azaion_engine.files import rtsp_server
from tests.azaion_engine.files.camera import Camera
from tests.azaion_engine.files.video_files import write_frames

Cli = Callable[..., Ran]


def test_two_cameras_share_batches_and_are_answered_with_stream_and_time(
    azaion: Cli, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rtsp_server.require()
    batches: list[int] = []
    infer = Detector.infer

    def counted(self: Detector, pictures: Sequence[Any]) -> Any:
        batches.append(len(pictures))
        time.sleep(0.1)  # as a model does; each stream has a frame again by the next call
        return infer(self, pictures)

    monkeypatch.setattr(Detector, "infer", counted)
    with rtsp_server.serve() as port:
        address = f"rtsp://user:secret@127.0.0.1:{port}"
        ran = azaion(
            *("detect", f"{address}/ball", f"{address}/snow", "--model", tiny, "--engine", "onnx", "-c", 0),
            *("--batch-size", 4, "--seconds", 6, "--json", "-o", tmp_path / "out.jsonl", "--draw", tmp_path / "drawn"),
        )
    assert ran.code == ExitCode.OK, ran.err
    assert "secret" not in ran.err + (tmp_path / "out.jsonl").read_text()
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for stream, name in enumerate(("ball", "snow")):
        own = [line for line in lines if line["stream"] == stream]
        assert len(own) > 5
        assert {line["source"] for line in own} == {f"rtsp://127.0.0.1:{port}/{name}"}
        for key in ("frame", "time_s", "time"):
            values = [line[key] for line in own]
            assert values == sorted(values), key
        clock = datetime.fromisoformat(own[-1]["time"].replace("Z", "+00:00"))
        assert abs((datetime.now(timezone.utc) - clock).total_seconds()) < 60
        assert own[-1]["picture"] == {"width": 320, "height": 240}
    assert 2 in batches, "frames of both streams in one batch"
    assert len(list((tmp_path / "drawn").iterdir())) == len(lines)
    summary = json.loads(ran.err.splitlines()[-1])["summary"]
    assert summary["pictures"] == len(lines)
    assert summary["skipped_frames"] >= 0


def test_a_server_that_comes_back_is_read_on_and_one_that_does_not_ends_the_run(azaion: Cli, tiny: Path) -> None:
    rtsp_server.require()
    first = rtsp_server.serve()
    port = first.__enter__()
    second = rtsp_server.serve(port)

    def restart() -> None:
        first.__exit__(None, None, None)
        second.__enter__()

    timers = [Timer(3, restart), Timer(8, lambda: second.__exit__(None, None, None))]
    for timer in timers:
        timer.start()
    ran = azaion(
        *("detect", f"rtsp://127.0.0.1:{port}/ball", "--model", tiny, "--engine", "onnx", "--reconnects", 3),
        *("--seconds", 60),
    )
    for timer in timers:
        timer.join()
    assert ran.code == ExitCode.PICTURES_FAILED
    times = [json.loads(line)["time_s"] for line in ran.out.splitlines()]
    assert any(later < earlier for earlier, later in itertools.pairwise(times)), "a new connection begins anew"
    assert "connecting again" in ran.err
    assert "given up after 3 reconnects" in ran.err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("rtsp://127.0.0.1:1/a", "a.jpg"), "separate runs"),
        (("rtsp://127.0.0.1:1/a", "--format", "csv"), "answered as jsonl"),
    ],
)
def test_what_does_not_go_with_streams_is_wrong_usage(
    azaion: Cli, tiny: Path, given: tuple[str, ...], told: str
) -> None:
    ran = azaion("detect", *given, "--model", tiny, "--engine", "onnx")
    assert ran.code == ExitCode.USAGE
    assert told in ran.err


def test_a_camera_that_is_not_there_is_given_up(azaion: Cli, tiny: Path) -> None:
    ran = azaion("detect", "63", "--model", tiny, "--engine", "onnx", "--reconnects", 0)
    assert ran.code == ExitCode.PICTURES_FAILED
    assert "error: 63: given up after 0 reconnects" in ran.err


def test_a_stopped_run_keeps_what_was_answered(tiny: Path, tmp_path: Path) -> None:
    with Camera(write_frames(tmp_path / "a.ts", [100 * index for index in range(40)]).read_bytes()) as camera:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "azaion_cli",
                "detect",
                camera.address,
                "--model",
                str(tiny),
                "--engine",
                "onnx",
                "--reconnects",
                "100",
                "-o",
                str(tmp_path / "out.jsonl"),
            ],
            stderr=subprocess.PIPE,
        )
        while camera.connections < 2:  # the first one was answered
            assert process.poll() is None
            time.sleep(0.05)
        assert not (tmp_path / "out.jsonl").exists()
        process.terminate()
        _, told = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED, told
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])["stream"] == 0


def test_frames_drawn_before_are_not_replaced(azaion: Cli, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "stream_0_000007.jpg").write_bytes(b"old")
    ran = azaion("detect", "rtsp://127.0.0.1:1/a", "--draw", tmp_path, "--model", tiny, "--engine", "onnx")
    assert ran.code == ExitCode.USAGE
    assert "exists already" in ran.err
