"""Examples: each runs as a user runs it, against a real service with the demo model, and prints the right boxes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from azaion_engine import Detector
from azaion_engine.model.file import SAMPLES, sample_picture
from azaion_engine.pictures.codec import decode
from azaion_engine.results.detections import Detections

ROOT = Path(__file__).parents[2]
CLIENT = (ROOT / "docs" / "reference" / "client.md").read_text()


@pytest.fixture(scope="module")
def url(running_serve) -> str:
    return running_serve.deploy(Detector.open, engine="onnx").url


@pytest.fixture(scope="module")
def detector():
    with Detector.open(engine="onnx") as detector:
        yield detector


@pytest.fixture(scope="module")
def expected(detector) -> dict[str, Detections]:
    """The library's own detections in the samples, by file name."""
    return {name: detector.detect(sample_picture(name))[0] for name in SAMPLES}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name in SAMPLES:
        (folder / name).write_bytes(sample_picture(name))
    return folder


def run(*command: str | Path) -> str:
    # As users run them: with the installed packages, without PYTHONPATH.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [*map(str, command)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def example(name: str, *arguments: str | Path) -> str:
    return run(sys.executable, f"examples/{name}", *arguments)


def assert_same(boxes: list[dict[str, Any]], found: Detections) -> None:
    """Asserts that the service's boxes are the library's, to the last digit sent."""
    assert len(boxes) == len(found)
    for box, own in zip(boxes, found, strict=True):
        assert (box["class_id"], box["class_name"]) == (own.class_id, own.class_name)
        assert box["confidence"] == pytest.approx(own.confidence, abs=1e-3)
        assert [box[edge] for edge in ("x1", "y1", "x2", "y2")] == pytest.approx(own[:4], abs=0.1)


def sentence(box: Any) -> str:
    return f"{box.class_name} {box.confidence:.2f} at {box.x1:.0f},{box.y1:.0f} – {box.x2:.0f},{box.y2:.0f}"


def test_client(url, folder, expected):
    certain = expected["sample_1.jpg"].filter(0.9)
    cars = [box for box in certain if box.class_name == "car"]
    lines = example("client.py", folder / "sample_1.jpg", "--url", url).splitlines()
    assert lines[0] == "demo on onnxruntime-cpu finds car, truck, building, person"
    assert re.fullmatch(rf"{len(cars)} in 1600×1216 pixels, \d+ ms", lines[1])
    assert lines[2:] == [
        *map(sentence, cars),
        f"{len(certain)} boxes",
        "refused: not_a_picture",
        "not a good picture: 400 empty_body",
    ]


def test_detect_folder(url, folder, expected):
    (folder / "damaged.jpg").write_bytes(sample_picture()[:-9000])
    (folder / "notes.txt").write_text("not looked at")
    lines = [json.loads(line) for line in example("detect_folder.py", folder, "--url", url).splitlines()]
    assert lines[0] == {"file": "damaged.jpg", "error": "picture_undecodable"}
    assert [line["file"] for line in lines[1:]] == list(SAMPLES)
    for line in lines[1:]:
        assert_same(line["boxes"], expected[line["file"]])


def test_video(url, detector, tmp_path):
    path = tmp_path / "video.avi"
    first, second = (cv2.cvtColor(decode(sample_picture(name)), cv2.COLOR_RGB2BGR)[:960, :1280] for name in SAMPLES)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 4, (1280, 960))
    for still in (first, second, second, first, first, second):
        writer.write(still)
    writer.release()
    output = example("video.py", path, "--url", url, "--every", "2", "--at-once", "2")
    lines = [json.loads(line) for line in output.splitlines()]
    assert [(line["frame"], line["seconds"]) for line in lines] == [(0, 0), (2, 0.5), (4, 1.0)]
    capture = cv2.VideoCapture(str(path))
    frames = [capture.read()[1] for _ in range(6)]
    for line in lines:
        jpeg = cv2.imencode(".jpg", frames[line["frame"]], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        [found] = detector.detect(jpeg)
        assert len(found) > 10
        assert_same(line["boxes"], found)


def test_library(folder, expected, tmp_path):
    drawn = tmp_path / "boxes.jpg"
    lines = example("library.py", folder / "sample_1.jpg", drawn).splitlines()
    found = expected["sample_1.jpg"].filter(0.5)
    assert lines == list(map(sentence, found))
    picture = decode(sample_picture())
    difference = np.abs(decode(drawn.read_bytes()).astype(int) - found.draw(picture))
    assert difference.mean() < 3  # JPEG is lossy
    assert np.abs(found.draw(picture).astype(int) - picture).mean() > 1


def test_curl(url, folder, expected):
    output = run("examples/curl.sh", url, folder / "sample_1.jpg", folder / "sample_2.jpg")
    ready, card, one, certain, several, error = map(json.loads, output.splitlines())
    assert ready == {"status": "ready"}
    assert card["classes"]["0"] == "car"
    assert_same(one["boxes"], expected["sample_1.jpg"])
    assert_same(certain["boxes"], expected["sample_1.jpg"].filter(0.9, classes=[0, 1]))
    assert_same(several["pictures"][0]["boxes"], expected["sample_1.jpg"])
    assert_same(several["pictures"][1]["boxes"], expected["sample_2.jpg"])
    assert several["pictures"][2]["error"]["code"] == "not_a_picture"
    assert (error["error"]["code"], error["error"]["status"]) == ("not_a_picture", 415)


def test_the_documented_client(url):
    """The page's block prints what the page shows, except for the last digits and the request's id."""
    [(code, told)] = re.findall(r"```python\n(from azaion_client.*?)```\n\n```\n(.*?)```", CLIENT, re.DOTALL)
    number = r"\d+\.\d+"
    request = r"\(request .*?\)"
    printed = re.sub(request, "", run(sys.executable, "-c", code.replace("http://127.0.0.1:8000", url)))
    told = re.sub(request, "", told)
    assert re.sub(number, "#", printed) == re.sub(number, "#", told)
    numbers = [float(n) for n in re.findall(number, told)]
    assert [float(n) for n in re.findall(number, printed)] == pytest.approx(numbers, abs=0.5)


ELSEWHERE = {"archive.py": "azaion_batch/test_example.py", "several_models.py": "deployments/catalog/test_on_serve.py"}
"""Examples that other tests run, which have what they need."""


def test_no_example_is_left_out():
    index = (ROOT / "examples" / "README.md").read_text()
    for path in (ROOT / "examples").iterdir():
        if path.suffix in (".py", ".sh"):
            assert f"`{path.name}`" in index
            if path.name in ELSEWHERE:
                assert path.name in (ROOT / "tests" / ELSEWHERE[path.name]).read_text()
            else:
                assert f"test_{path.stem}" in globals()
