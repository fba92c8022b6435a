"""Both clients against the real service, which answers as the scripted server of the other tests does."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
from PIL import Image

from azaion_client import (
    AsyncClient,
    BadPictureError,
    Client,
    Detections,
    InvalidParameterError,
    OverloadedError,
    RetryPolicy,
)
from tests.azaion_client.conftest import Face
from tests.stand_in import grey_picture


@pytest.fixture(scope="module")
def app(running_serve):
    return running_serve.plain()


@pytest.fixture(params=[Client, AsyncClient])
def ask(request, app) -> Face:
    return Face(request.param, app.url)


def test_one_picture(ask):
    found = ask("detect", grey_picture(7, size=64), confidence=0.5)
    [box] = found
    assert (box.class_id, box.x1, box.y1, box.x2, box.y2) == (7, 8, 16, 40, 48)
    assert (found.picture.width, found.model.name) == (64, "stand-in")
    assert found.timing_ms.total >= found.timing_ms.engine > 0
    assert ask("detect", grey_picture(7), classes=[8], request_id="mine").boxes == ()
    assert ask("detect", grey_picture(7), request_id="mine").request_id == "mine"
    assert ask("ready") is True


def test_more_pictures_than_one_request_may_hold(ask):
    pictures = [*map(grey_picture, range(5)), b"GIF89a", grey_picture(6)]
    answers = ask("detect_many", pictures)
    assert isinstance(answers.pop(5), BadPictureError)
    assert [[box.class_id for box in found] for found in answers] == [[0], [1], [2], [3], [4], [6]]


def test_errors(ask):
    with pytest.raises(BadPictureError) as caught:
        ask("detect", b"GIF89a")
    assert (caught.value.status, caught.value.code) == (415, "not_a_picture")
    with pytest.raises(InvalidParameterError, match="unicorn"):
        ask("detect_many", [grey_picture(1)], classes=["unicorn"])


def test_a_drawn_picture(ask):
    picture = Image.open(io.BytesIO(ask("draw", grey_picture(7, size=64), request_id="mine")))
    assert (picture.format, picture.size) == ("JPEG", (64, 64))
    assert np.ptp(np.asarray(picture)) > 50
    with pytest.raises(BadPictureError):
        ask("draw", b"GIF89a")


def test_a_full_queue_is_outlasted(running_serve):
    """Three requests at once, a queue of one, a second each: some are refused without retries, none with them."""
    app = running_serve.full()

    async def three(retry: RetryPolicy) -> list[Detections | BaseException]:
        async with AsyncClient(app.url, retry=retry) as client:
            asked = (client.detect(grey_picture(grey)) for grey in range(3))
            return await asyncio.gather(*asked, return_exceptions=True)

    refused = [answer for answer in asyncio.run(three(RetryPolicy(retries=0))) if isinstance(answer, Exception)]
    assert refused
    assert {(type(error), error.retry_after_s) for error in refused} == {(OverloadedError, 1)}
    answers = asyncio.run(three(RetryPolicy(retries=30)))
    assert [[box.class_id for box in found] for found in answers] == [[0], [1], [2]]
