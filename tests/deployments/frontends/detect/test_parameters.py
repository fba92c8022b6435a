"""Parameters over real HTTP: in the query, in a form's fields, empty, unknown."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from tests.stand_in import grey_picture

PICTURE = ("picture", ("a.png", grey_picture(5), "image/png"))


@pytest.fixture(scope="module")
def client(running_serve):
    with running_serve.plain().client() as client:
        yield client


def error_of(response: httpx.Response) -> tuple[int, str, str]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["message"]


def field(name: str, value: str) -> tuple[str, tuple[None, str]]:
    return name, (None, value)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("conf=0.5", "there is no parameter 'conf', only confidence, classes"),
        ("classes[]=1", "did you mean 'classes'?"),
        ("confidence=0.5&answer_format=image", "there is no parameter 'answer_format'"),
        ("=1", "there is no parameter ''"),
    ],
)
@pytest.mark.parametrize("sent", [{"content": grey_picture(5)}, {"files": [PICTURE]}], ids=["body", "form"])
def test_an_unknown_parameter_is_refused_by_name(client, query: str, named: str, sent: dict[str, Any]) -> None:
    status, code, message = error_of(client.post(f"/detect?{query}", **sent))
    assert (status, code) == (422, "invalid_parameter")
    assert named in message


def test_a_single_value_given_twice_is_refused_by_name(client) -> None:
    sent = {"content": grey_picture(5)}
    status, code, message = error_of(client.post("/detect?confidence=0.1&iou=0.5&confidence=0.2", **sent))
    assert (status, code, message) == (422, "invalid_parameter", "confidence: given several times in the query")
    assert client.post("/detect?classes=4&classes=5", **sent).status_code == 200


@pytest.mark.parametrize("query", ["confidence=", "iou=&max_detections=&format=", "classes=&confidence=%20"])
def test_an_empty_parameter_is_the_default(client, query: str) -> None:
    response = client.post(f"/detect?{query}", content=grey_picture(5))
    assert response.status_code == 200
    assert len(response.json()["boxes"]) == 1


def test_fields_of_the_form_are_parameters(client) -> None:
    def boxes(*fields: Any) -> int:
        response = client.post("/detect", files=[*fields, PICTURE])
        assert response.status_code == 200
        return len(response.json()["pictures"][0]["boxes"])

    assert boxes() == boxes(field("confidence", "0.8"), field("iou", "")) == 1
    assert boxes(field("confidence", "0.95")) == 0
    assert boxes(field("classes", "4"), field("classes", "6")) == 0
    assert boxes(field("classes", "4"), field("classes", "5")) == 1
    assert client.post("/detect", files=[PICTURE, field("format", "image")]).headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize(
    ("query", "fields", "named"),
    [
        ("", [field("conf", "0.5")], "there is no parameter 'conf'"),
        ("", [field("picture", "x" * 3_000_000)], "needs a file name, as -F picture=@file.jpg gives it"),
        ("", [field("confidence", "2")], "confidence: Input should be less than or equal to 1, given '2'"),
        ("", [field("confidence", "0.1"), field("confidence", "0.2")], "confidence: given several times"),
        ("?confidence=0.5", [field("confidence", "0.5")], "given in the query and in the form"),
    ],
)
def test_a_field_that_cannot_be_taken_is_refused_by_name(client, query: str, fields: list[Any], named: str) -> None:
    status, code, message = error_of(client.post(f"/detect{query}", files=[PICTURE, *fields]))
    assert (status, code) == (422, "invalid_parameter")
    assert named in message


@pytest.mark.parametrize("preamble", [b"To be ignored.\r\n", b"\r\n", b"--\r\n--x" * 50_000 + b"\r\n"])
def test_the_preamble_of_a_form_is_ignored(client, preamble: bytes) -> None:
    part = b'--xy\r\nContent-Disposition: form-data; name="p"; filename="a.png"\r\n\r\n%s\r\n' % grey_picture(5)
    headers = {"Content-Type": "Multipart/Form-Data; Boundary=xy"}
    response = client.post("/detect", content=preamble + part + b"--xy--\r\nepilogue", headers=headers)
    assert response.status_code == 200
    assert response.json()["pictures"][0]["name"] == "a.png"


def test_a_body_without_the_boundary_is_told_so(client) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=xy"}
    status, code, message = error_of(client.post("/detect", content=b"nothing" * 1000, headers=headers))
    assert (status, code) == (400, "bad_request")
    assert "cut off" in message


@pytest.mark.parametrize(
    "accept",
    [[("Accept", "IMAGE/JPEG")], [("Accept", "application/json;q=0.5"), ("Accept", "image/jpeg")]],
)
def test_every_accept_header_counts_in_any_case(client, accept: list[tuple[str, str]]) -> None:
    response = client.post("/detect", content=grey_picture(5), headers=accept)
    assert response.headers["content-type"] == "image/jpeg"


def test_a_picture_broken_by_curl_is_told_how_to_send_it(client) -> None:
    picture = grey_picture(5).replace(b"\n", b"").replace(b"\r", b"").replace(b"\0", b"")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for query in ("", "?confidence=0.5", "?format=image"):
        _, _, message = error_of(client.post(f"/detect{query}", content=picture, headers=headers))
        assert "--data-binary @file" in message
    _, _, message = error_of(client.post("/detect", content=picture))
    assert "--data-binary" not in message


def test_a_picture_in_base64_is_told_to_decode_it(client) -> None:
    status, _, message = error_of(client.post("/detect", content=base64.b64encode(grey_picture(5))))
    assert status == 415
    assert "base64 (send the decoded bytes)" in message


@pytest.mark.parametrize("path", ["/", "/model", "/healthz", "/readyz", "/openapi.json", "/v2", "/v2/health/ready"])
def test_head_has_the_headers_of_get(client, path: str) -> None:
    get, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"") == (200, b"")
    for name in ("content-type", "content-length"):
        assert head.headers.get(name) == get.headers.get(name)


def test_head_where_there_is_no_get_is_refused(client) -> None:
    assert client.head("/detect").status_code == 405
    assert client.head("/nothing").status_code == 404
