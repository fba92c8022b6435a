"""Load: eight clients that check every answer, half of them `azaion_client`, half plain HTTP without any retry."""

from __future__ import annotations

import http.client
import io
import threading
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson
from PIL import Image

from azaion_client import Client, ClientError
from azaion_engine.detector import Detector
from azaion_engine.model.file import SAMPLES, sample_picture
from tests.chaos.service import SIDE

CLIENTS = 8
CONFIDENCE = 0.6
TOLERANCE_PX = 1.0


CASES_ON_THE_CPU: dict[str, Any] = {"engine": "onnx", "threads": 1}


class Outcome(NamedTuple):
    """One request.

    Attributes:
        retries: Whether `azaion_client` made it.
        begun: When, on the monotonic clock.
        ended: Likewise.
        result: `right`, `wrong`, or what came instead of boxes.
    """

    retries: bool
    begun: float
    ended: float
    result: str


Box = tuple[int, float, float, float, float]


class Case(NamedTuple):
    """A picture that no other client sends, and its boxes, which the library found without a service."""

    picture: bytes
    boxes: list[Box]

    def result(self, boxes: list[Box]) -> str:
        """Returns `right` if these are its boxes, else `wrong`."""
        near = len(boxes) == len(self.boxes) and all(
            a[0] == b[0] and max(abs(x - y) for x, y in zip(a[1:], b[1:], strict=True)) <= TOLERANCE_PX
            for a, b in zip(sorted(boxes), sorted(self.boxes), strict=True)
        )
        return "right" if near else "wrong"


def make_cases(model: str, settings: dict[str, Any] = CASES_ON_THE_CPU) -> list[Case]:
    """Returns a case for each client: parts of the samples with different boxes.

    Args:
        model: The detector's file, or its name.
        settings: Keys of `DetectorSettings`; those of the service, as another engine finds other boxes.
    """
    parts = []
    for name in SAMPLES:
        sample = Image.open(io.BytesIO(sample_picture(name)))
        width, height = sample.size[0] // 2, sample.size[1] // 2
        for left in (0, width):
            for top in (0, height):
                file = io.BytesIO()
                sample.crop((left, top, left + width, top + height)).save(file, "JPEG", quality=90)
                parts.append(file.getvalue())
    with Detector.open(model=model, height=SIDE, width=SIDE, **settings) as detector:
        found = detector.detect(parts, confidence=CONFIDENCE)
    boxes = [[_box(box) for box in detections.to_dicts()] for detections in found]
    assert len({tuple(sorted(each)) for each in boxes}) == CLIENTS == len(parts), "exchanged answers would not be seen"
    assert all(boxes)
    return [Case(*case) for case in zip(parts, boxes, strict=True)]


def _box(box: dict[str, Any]) -> Box:
    return box["class_id"], box["x1"], box["y1"], box["x2"], box["y2"]


class Load:
    """The clients; they ask from `__enter__` to `__exit__`, each as soon as it has its answer."""

    def __init__(self, url: str, cases: list[Case]) -> None:
        """Asks nothing yet."""
        self._url = url
        self._ended = threading.Event()
        self.outcomes: list[Outcome] = []
        self._asking: dict[int | None, float] = {}
        self._threads = [
            threading.Thread(target=self._retrying if index % 2 else self._plain, args=(case,), daemon=True)
            for index, case in enumerate(cases)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self, seconds: float = 70) -> None:
        """Lets every client have its last answer."""
        self._ended.set()
        for thread in self._threads:
            thread.join(seconds)
            assert not thread.is_alive(), "a client waits for its answer still"

    def leave(self, at: float, seconds: float = 70) -> None:
        """Waits for every request that was begun before a moment; the clients' later ones are nobody's to answer."""
        self._ended.set()
        deadline = time.monotonic() + seconds
        while any(t.is_alive() and self._asking.get(t.ident, 0) < at for t in self._threads):
            assert time.monotonic() < deadline, "a client waits for its answer still"
            time.sleep(0.05)
        self._threads.clear()

    def _begin(self) -> float:
        self._asking[threading.get_ident()] = begun = time.monotonic()
        return begun

    def _retrying(self, case: Case) -> None:
        with Client(self._url, timeout_s=60) as client:
            while not self._ended.is_set():
                begun = self._begin()
                try:
                    boxes = client.detect(case.picture, confidence=CONFIDENCE).boxes
                    found = [(box.class_id, box.x1, box.y1, box.x2, box.y2) for box in boxes]
                    result = case.result(found)
                except ClientError as error:
                    result = f"{type(error).__name__}: {error}"
                self._note(True, begun, result)

    def _plain(self, case: Case) -> None:
        address = urlsplit(self._url).netloc
        connection = http.client.HTTPConnection(address, timeout=40)
        while not self._ended.is_set():
            begun = self._begin()
            try:
                connection.request("POST", f"/detect?confidence={CONFIDENCE}", case.picture)
                response = connection.getresponse()
                body = response.read()
                boxes = [_box(box) for box in orjson.loads(body)["boxes"]] if response.status == 200 else []
                result = case.result(boxes) if response.status == 200 else f"{response.status} {body[:60]!r}"
            except (OSError, http.client.HTTPException) as error:
                result = type(error).__name__
                connection.close()
            self._note(False, begun, result)

    def _note(self, retries: bool, begun: float, result: str) -> None:
        self.outcomes.append(Outcome(retries, begun, time.monotonic(), result))
        if result != "right":
            time.sleep(0.1)  # a refusal is no reason to ask ten thousand times a second
