"""PlainDetect: which requests bypass FastAPI, and that their answers are the same."""

from __future__ import annotations

import pytest

from deployments.frontends.detect.plain_detect import PlainDetect
from tests.stand_in import grey_picture

JPEG = (b"content-type", b"image/jpeg")


def scope(*headers: tuple[bytes, bytes], **changes: object) -> dict[str, object]:
    plain = {"type": "http", "method": "POST", "path": "/detect", "query_string": b"", "headers": list(headers)}
    return {**plain, **changes}


@pytest.fixture(scope="module")
def plain() -> PlainDetect:
    return PlainDetect(lambda *_: None, "/detect", lambda _: None, lambda *_: None)


@pytest.mark.parametrize(
    "headers",
    [[], [JPEG], [JPEG, (b"accept", b"*/*")], [(b"accept", b"application/json")]],
)
def test_a_picture_that_asks_for_nothing_else_goes_the_short_way(plain: PlainDetect, headers: list) -> None:
    assert plain.takes(scope(*headers))


def test_it_goes_the_short_way_under_a_prefix_too(plain: PlainDetect) -> None:
    assert plain.takes(scope(JPEG, path="/boxes/detect", root_path="/boxes"))
    assert not plain.takes(scope(JPEG, path="/boxes/detect"))


@pytest.mark.parametrize(
    "other",
    [
        scope(JPEG, query_string=b"confidence=0.5"),
        scope((b"content-type", b"Multipart/Form-Data; boundary=x")),
        scope(JPEG, (b"accept", b"text/html, Image/jpeg")),
        scope(JPEG, method="GET"),
        scope(JPEG, path="/detect/"),
        scope(type="websocket"),
    ],
)
def test_everything_else_takes_the_documented_route(plain: PlainDetect, other: dict[str, object]) -> None:
    assert not plain.takes(other)


@pytest.mark.parametrize("picture", [grey_picture(7), grey_picture(7, "JPEG"), b"", b"no picture"])
def test_both_ways_answer_alike(running_serve, picture: bytes) -> None:
    with running_serve.plain().client() as client:
        plain, documented = (client.post("/detect", content=picture, params=p) for p in ({}, {"confidence": 0.25}))
    assert plain.status_code == documented.status_code
    one, other = plain.json(), documented.json()
    for answer in (one, other):
        answer.pop("timing_ms", None)
    assert one == other
