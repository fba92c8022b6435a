"""Requests and answers of both clients, against a real HTTP server on this machine."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from azaion_client import (
    AccessError,
    BadPictureError,
    Box,
    Client,
    ClientError,
    DeadlineExceededError,
    Detections,
    InvalidParameterError,
    LimitError,
    ModelName,
    OverloadedError,
    RequestFailedError,
    RetryPolicy,
    Size,
    Timing,
    UnavailableError,
    UnexpectedAnswerError,
)
from tests.azaion_client.conftest import ANSWER, BOX, CARD, FOUND, MODEL, Reply, error


def test_an_answer_becomes_typed_boxes(call, script):
    script.plays(Reply(headers={"X-Request-ID": "r-1"}))
    found = call("detect", b"jpeg")
    assert found == Detections(
        (Box(1, 2, 3, 4, 0.9, 0, "car"),),
        Size(8, 6),
        Timing(1, 2.5, 3, 6.5),
        ModelName("demo", "onnxruntime-cpu"),
        "r-1",
    )
    assert [box.class_name for box in found] == ["car"]
    assert len(found) == 1
    with pytest.raises(FrozenInstanceError):
        found.boxes = ()


def test_an_oriented_box_has_its_angle_and_corners_and_an_upright_one_has_none(call, script):
    corners = [[1, 2], [3, 2.5], [2.5, 4], [0.5, 3.5]]
    script.plays(Reply({**ANSWER, "boxes": [{**BOX, "angle": 0.245, "corners": corners}, BOX]}))
    oriented, upright = call("detect", b"jpeg").boxes
    assert (oriented.angle, oriented.corners) == (0.245, tuple(map(tuple, corners)))
    assert (upright.angle, upright.corners) == (None, None)


def test_a_pose_has_its_keypoints_and_another_box_none(call, script):
    points = [[1, 2, 0.9], [3, 2.5, 0.1]]
    script.plays(Reply({**ANSWER, "boxes": [{**BOX, "keypoints": points}, BOX]}))
    posed, other = call("detect", b"jpeg").boxes
    assert (posed.keypoints, other.keypoints) == (tuple(map(tuple, points)), None)


def test_fields_that_a_later_service_adds_are_no_error(call, script):
    script.plays(Reply({**ANSWER, "boxes": [{**BOX, "track": 7}], "new": 1}))
    assert len(call("detect", b"jpeg")) == 1


@pytest.mark.parametrize("kind", ["bytes", "text path", "path", "file", "memory"])
def test_a_picture_is_bytes_a_path_or_a_file(call, script, tmp_path, kind):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"jpeg")
    script.plays(Reply())
    with path.open("rb") as file:
        pictures = {"bytes": b"jpeg", "text path": str(path), "path": path, "file": file, "memory": io.BytesIO(b"jpeg")}
        call("detect", pictures[kind])
    [asked] = script.asked
    assert (asked.line, asked.body) == ("POST /detect", b"jpeg")


def test_what_is_no_picture_is_refused_before_anything_is_sent(call, script, tmp_path):
    with pytest.raises(FileNotFoundError):
        call("detect", tmp_path / "none.jpg")
    with pytest.raises(TypeError, match="StringIO"):
        call("detect", io.StringIO("text"))
    with pytest.raises(TypeError, match="int"):
        call("detect", 7)
    assert script.asked == []


def test_confidence_classes_and_request_id_are_sent(call, script):
    script.plays(Reply(), Reply(), Reply())
    call("detect", b"x", confidence=0.4, classes=["car", 3], request_id="mine")
    call("detect", b"x", classes="car,truck", iou=0.5, max_detections=7, tiles="auto")
    call("detect", b"x")
    assert [asked.line for asked in script.asked] == [
        "POST /detect?confidence=0.4&classes=car%2C3",
        "POST /detect?iou=0.5&max_detections=7&tiles=auto&classes=car%2Ctruck",
        "POST /detect",
    ]
    assert [asked.headers.get("x-request-id") for asked in script.asked] == ["mine", None, None]


def test_no_classes_at_all_is_a_mistake(call, script):
    with pytest.raises(ValueError, match="leave it out"):
        call("detect", b"x", classes=[])


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_route_prefix_in_the_base_url_is_kept(call, script, slash):
    script.plays(Reply(), Reply(CARD))
    call("detect", b"x", client={"base_url": f"{script.url}/app-1{slash}"})
    call("model", client={"base_url": f"{script.url}/app-1{slash}"})
    assert [asked.line for asked in script.asked] == ["POST /app-1/detect", "GET /app-1/model"]


def test_own_headers_go_with_every_request(call, script):
    script.plays(Reply(CARD), Reply({"pictures": [FOUND], "model": MODEL}))
    call("detect_many", [b"x"], client={"headers": {"Authorization": "Bearer abc"}})
    assert [asked.headers["authorization"] for asked in script.asked] == ["Bearer abc"] * 2


def test_connections_are_used_again(call, script):
    script.plays(*[Reply()] * 5)
    call.several("detect", [(b"x",)] * 5)
    assert len(script.connections) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "picture_undecodable", BadPictureError),
        (400, "empty_body", BadPictureError),
        (413, "picture_too_large", BadPictureError),
        (415, "not_a_picture", BadPictureError),
        (422, "invalid_parameter", InvalidParameterError),
        (401, "unauthorized", AccessError),
        (403, "key_disabled", AccessError),
        (403, "key_expired", AccessError),
        (400, "bad_request", RequestFailedError),
        (500, "internal", RequestFailedError),
        (504, "deadline_exceeded", DeadlineExceededError),
    ],
)
def test_an_error_answer_is_typed_and_not_repeated(call, script, status, code, kind):
    script.plays(Reply(error(code, status), status, {"X-Request-ID": "r-2"}))
    with pytest.raises(ClientError) as caught:
        call("detect", b"x")
    failed = caught.value
    assert type(failed) is kind
    assert (failed.status, failed.code, failed.message, failed.request_id) == (status, code, f"this is {code}", "r-2")
    assert str(failed) == f"{status} {code}: this is {code} (request r-2)"
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    ("reply", "kind", "text"),
    [
        (Reply(b"Request timed out after 60.0s.", 408), DeadlineExceededError, "Request timed out"),
        (Reply(b"<html>too large</html>", 413), BadPictureError, "too large"),
        (Reply(b"", 500), RequestFailedError, "Internal Server Error"),
        (Reply({"error": "no object"}, 401), AccessError, "no object"),
        (Reply({"error": {"code": "half"}}, 403), AccessError, "half"),
    ],
)
def test_an_error_of_something_in_between_is_told_by_its_status(call, script, reply, kind, text):
    script.plays(reply)
    with pytest.raises(RequestFailedError, match=text) as caught:
        call("detect", b"x", client={"retry": RetryPolicy(retries=0)})
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.code) == (reply.status, f"http_{reply.status}")


@pytest.mark.parametrize("body", [b"<html>", b"[1]", {"hello": 1}, {**ANSWER, "boxes": [{"x1": "left"}]}])
def test_a_success_of_another_shape_is_an_error(call, script, body):
    script.plays(Reply(body))
    with pytest.raises(UnexpectedAnswerError):
        call("detect", b"x")


def test_many_pictures_go_in_as_few_requests_as_the_service_allows(call, script, tmp_path):
    path = tmp_path / "b.jpg"
    path.write_bytes(b"2")
    bad = {"name": "b.jpg", **error("not_a_picture", 415)}
    script.plays(
        Reply(CARD),
        Reply({"pictures": [FOUND, bad], "model": MODEL}, headers={"X-Request-ID": "r"}),
        Reply({"pictures": [{**FOUND, "boxes": []}], "model": MODEL}),
    )
    first, second, third = call("detect_many", iter([b"1", path, b"3"]), confidence=0.5, request_id="mine")
    assert first.boxes == (Box(**BOX),)
    assert (first.model.name, first.request_id) == ("demo", "r")
    assert isinstance(second, BadPictureError)
    assert (second.code, second.status, second.request_id) == ("not_a_picture", 415, "r")
    assert len(third) == 0
    assert [asked.line for asked in script.asked] == ["GET /model", *["POST /detect?confidence=0.5"] * 2]
    assert [asked.headers.get("x-request-id") for asked in script.asked[1:]] == ["mine", "mine"]
    assert script.asked[1].parts() == [("picture-0", b"1"), ("b.jpg", b"2")]
    assert script.asked[2].parts() == [("picture-2", b"3")]


def test_no_pictures_give_no_answers(call, script):
    script.plays(Reply(CARD))
    assert call("detect_many", []) == []


def test_many_pictures_all_bad_are_errors_each_and_no_exception(call, script):
    entry = error("not_a_picture", 415)
    script.plays(Reply(CARD), Reply({"pictures": [entry, entry], "model": MODEL}, 415))
    assert [type(found) for found in call("detect_many", [b"1", b"2"])] == [BadPictureError] * 2


def test_an_error_of_the_whole_request_is_raised(call, script):
    script.plays(Reply(CARD), Reply(error("invalid_parameter", 422), 422))
    with pytest.raises(InvalidParameterError):
        call("detect_many", [b"1"], classes=["unicorn"])


@pytest.mark.parametrize("entries", [[], [FOUND, FOUND], [None], [{"error": {"code": "half"}}], "x"])
def test_fewer_or_other_answers_than_pictures_are_an_error(call, script, entries):
    script.plays(Reply(CARD), Reply({"pictures": entries, "model": MODEL}))
    with pytest.raises(UnexpectedAnswerError):
        call("detect_many", [b"1"])


def test_a_drawn_picture_comes_as_bytes(call, script):
    script.plays(Reply(b"\xff\xd8drawn", headers={"Content-Type": "image/jpeg"}))
    assert call("draw", b"x", confidence=0.4, request_id="mine") == b"\xff\xd8drawn"
    [asked] = script.asked
    assert (asked.line, asked.body) == ("POST /detect?confidence=0.4&format=image", b"x")
    assert asked.headers["x-request-id"] == "mine"


def test_a_service_that_cannot_draw_is_found_out(call, script):
    script.plays(Reply(headers={"Content-Type": "application/json"}))
    with pytest.raises(UnexpectedAnswerError, match="image/jpeg"):
        call("draw", b"x")


def test_the_models_card_is_typed(call, script):
    script.plays(Reply(CARD))
    card = call("model")
    assert card.classes == {0: "car", 1: "truck"}
    assert card.input == Size(32, 32)
    assert card.limits.max_pictures == 2


def test_errors_survive_pickling():
    failed = OverloadedError(503, "overloaded", "full", "r", 2.0)
    again = pickle.loads(pickle.dumps(failed))
    assert (type(again), str(again), again.retry_after_s) == (OverloadedError, str(failed), 2.0)
    assert issubclass(OverloadedError, UnavailableError)


def test_retrying_can_be_switched_off(script):
    script.plays(Reply(error("overloaded", 503), 503))
    with Client(script.url, retry=RetryPolicy(retries=0)) as client, pytest.raises(OverloadedError):
        client.detect(b"x")


def test_the_client_loads_neither_ray_nor_numpy_nor_the_engine():
    code = (
        "import sys, azaion_client; "
        "print(sorted({'ray', 'numpy', 'azaion_engine', 'deployments', 'fastapi', 'onnxruntime', 'cv2', 'PIL'}"
        " & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_a_key_is_sent_with_every_request(call, script, monkeypatch):
    script.plays(Reply(), Reply(), Reply(), Reply())
    call("detect", b"jpeg", client={"key": "azk_given\n", "headers": {"Authorization": "Basic proxy"}})
    monkeypatch.setenv("AZAION_KEY", "azk_environment")
    call("detect", b"jpeg")
    call("detect", b"jpeg", client={"key": "azk_given"})
    call("detect", b"jpeg", client={"key": ""})
    assert [asked.headers.get("x-api-key") for asked in script.asked] == [
        "azk_given",
        "azk_environment",
        "azk_given",
        None,
    ]
    assert script.asked[0].headers["authorization"] == "Basic proxy"


def test_a_limit_that_ends_soon_is_waited_for_and_another_is_told_at_once(call, script, waits):
    script.plays(Reply(error("rate_exceeded", 429), 429, {"Retry-After": "2"}), Reply())
    assert len(call("detect", b"jpeg")) == 1
    assert 2 <= waits[0] < 3
    script.plays(Reply(error("daily_exceeded", 429), 429, {"Retry-After": "7200"}))
    with pytest.raises(LimitError) as caught:
        call("detect", b"jpeg")
    assert (caught.value.code, caught.value.retry_after_s) == ("daily_exceeded", 7200)
