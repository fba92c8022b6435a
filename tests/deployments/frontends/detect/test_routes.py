"""Routes of `/detect` over real HTTP, with a stand-in engine."""

from __future__ import annotations

import asyncio
import io
import select
import socket
import threading
import time
from contextlib import ExitStack
from http.client import HTTPResponse
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from tests.deployments import in_process
from tests.deployments.frontends import documented
from tests.stand_in import LOST, POISON, engine_report, grey_picture


@pytest.fixture(scope="module")
def client(running_serve):
    app = running_serve.deploy(max_picture_bytes=100_000, max_picture_pixels=1_000_000, max_pictures=4)
    with app.client() as client:
        yield client


def error_of(response) -> tuple[int, str]:
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "status"}
    assert body["error"]["status"] == response.status_code
    assert "Traceback" not in response.text
    return response.status_code, body["error"]["code"]


def files(*pictures: bytes) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("picture", (f"{i}.png", data, "image/png")) for i, data in enumerate(pictures)]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_a_picture_as_the_body_gives_boxes_in_its_pixels(client, kind):
    response = client.post("/detect", content=grey_picture(40, kind, 64))
    assert response.status_code == 200
    body = response.json()
    assert body["picture"] == {"width": 64, "height": 64}
    [box] = body["boxes"]
    assert {k: box[k] for k in ("x1", "y1", "x2", "y2")} == {"x1": 8, "y1": 16, "x2": 40, "y2": 48}
    assert box["class_id"] == pytest.approx(40, abs=1)
    assert box["class_name"] == f"class_{box['class_id']}"
    assert box["confidence"] == pytest.approx(0.9)
    assert set(body["timing_ms"]) == {"decode", "queue", "engine", "total"}
    assert body["model"]["name"] == "stand-in"


def test_what_curl_sends_by_default_is_taken_as_a_picture(client):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/detect", content=grey_picture(3), headers=headers).status_code == 200


def test_a_large_picture_is_answered_in_tiles_through_serve(client):
    picture = Image.new("RGB", (64, 32), (10, 10, 10))
    picture.paste((90, 90, 90), (32, 0, 64, 32))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    body = client.post("/detect?tiles=32", content=buffer.getvalue()).json()
    assert body["picture"] == {"width": 64, "height": 32}
    # The stand-in's box of each tile has the tile's grey value as its class; the right one is in two tiles.
    assert (4, 10) in {(box["x1"], box["class_id"]) for box in body["boxes"]}
    assert max(box["x1"] for box in body["boxes"] if box["class_id"] == 90) >= 30
    assert client.post("/detect?tiles=huge", content=buffer.getvalue()).status_code == 422


def test_several_pictures_are_answered_in_order(client):
    body = client.post("/detect", files=files(*map(grey_picture, (5, 6, 7)))).json()
    assert [p["name"] for p in body["pictures"]] == ["0.png", "1.png", "2.png"]
    assert [p["boxes"][0]["class_id"] for p in body["pictures"]] == [5, 6, 7]


def test_one_bad_picture_of_several_carries_its_own_error(client):
    response = client.post("/detect", files=files(grey_picture(5), b"no picture", grey_picture(7)))
    assert response.status_code == 200
    first, second, third = response.json()["pictures"]
    assert (first["boxes"][0]["class_id"], third["boxes"][0]["class_id"]) == (5, 7)
    assert (second["error"]["code"], second["error"]["status"]) == ("not_a_picture", 415)


def test_a_picture_that_the_engine_fails_on_costs_the_others_nothing(client):
    response = client.post("/detect", files=files(grey_picture(5), grey_picture(POISON), grey_picture(7)))
    assert response.status_code == 200
    first, second, third = response.json()["pictures"]
    assert (first["boxes"][0]["class_id"], third["boxes"][0]["class_id"]) == (5, 7)
    assert second["error"]["code"] == "internal"
    assert "poison" not in response.text


def test_several_pictures_all_bad_give_the_first_ones_status(client):
    assert client.post("/detect", files=files(b"no picture", b"nor this")).status_code == 415


def test_confidence_and_classes_filter(client):
    picture = grey_picture(5)
    assert client.post("/detect?confidence=0.95", content=picture).json()["boxes"] == []
    assert len(client.post("/detect?classes=5,6", content=picture).json()["boxes"]) == 1
    assert len(client.post("/detect?classes=6&classes=5", content=picture).json()["boxes"]) == 1
    assert client.post("/detect?classes=6", content=picture).json()["boxes"] == []
    assert len(client.post("/detect?classes=", content=picture).json()["boxes"]) == 1


def test_the_number_of_boxes_is_bounded_on_request(client):
    every = client.post("/detect?confidence=0.01", content=grey_picture(5)).json()["boxes"]
    few = client.post("/detect?confidence=0.01&max_detections=1", content=grey_picture(5)).json()["boxes"]
    assert len(every) > 1
    assert few == every[:1]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "empty_body")),
        (b"hello", (415, "not_a_picture")),
        (b"GIF89a" + bytes(100), (415, "not_a_picture")),
        (grey_picture(3, "JPEG", 256)[:-300], (400, "picture_undecodable")),
        (grey_picture(3, "PNG", 64)[:60], (400, "picture_undecodable")),
        (bytes(100_001), (413, "picture_too_large")),
        (grey_picture(3, "PNG", 1001), (413, "picture_too_large")),
    ],
    ids=["empty", "text", "gif", "truncated-jpeg", "truncated-png", "too-many-bytes", "too-many-pixels"],
)
def test_a_bad_picture_gets_the_right_status(client, body, expected):
    assert error_of(client.post("/detect", content=body)) == expected


def test_a_body_of_unknown_length_is_cut_off_at_the_limit(client):
    assert error_of(client.post("/detect", content=(bytes(10_000) for _ in range(50)))) == (413, "picture_too_large")


@pytest.mark.parametrize(
    "query",
    [
        *("confidence=2", "confidence=abc", "confidence=-0.1", "classes=unicorn", f"classes={'9' * 5000}"),
        *("iou=0.5", "iou=2", "max_detections=0", "max_detections=1.5"),  # the stand-in suppresses boxes itself
    ],
)
def test_a_bad_parameter_is_422_and_named(client, query):
    response = client.post(f"/detect?{query}", content=grey_picture(3))
    assert error_of(response) == (422, "invalid_parameter")
    assert query.split("=")[0] in response.json()["error"]["message"]
    assert query.split("=")[1][:150] in response.json()["error"]["message"]  # quoted up to 200 characters


def test_a_bad_parameter_fails_a_whole_multipart_request(client):
    assert error_of(client.post("/detect?classes=unicorn", files=files(grey_picture(1)))) == (422, "invalid_parameter")


def test_multipart_without_files_or_with_too_many_is_refused(client):
    assert error_of(client.post("/detect", files={"iou": (None, "0.5")})) == (400, "bad_request")
    assert error_of(client.post("/detect", files=files(*[grey_picture(1)] * 5))) == (413, "picture_too_large")
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert error_of(client.post("/detect", content=b"--y\r\nrubbish", headers=headers)) == (400, "bad_request")


def test_a_multipart_body_that_is_cut_off_is_refused_whole(client):
    head = b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\n\r\n'
    part = head + grey_picture(1) + b"\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert client.post("/detect", content=part * 2 + b"--x--", headers=headers).status_code == 200
    for body in (part * 2, part + part[:-30], b"--x"):
        response = client.post("/detect", content=body, headers=headers)
        assert error_of(response) == (400, "bad_request")
        assert "cut off" in response.json()["error"]["message"]
    nothing = client.post("/detect", content=b"--x--\r\n", headers=headers)
    assert "no file part" in nothing.json()["error"]["message"]


def test_unknown_paths_and_methods_have_the_same_error_shape(client):
    assert error_of(client.get("/nothing")) == (404, "not_found")
    assert error_of(client.get("/detect")) == (405, "method_not_allowed")
    assert client.get("/detect").headers["Allow"] == "POST"


def test_the_model_card_says_what_is_served(client):
    card = client.get("/model").json()
    assert card["input"] == {"width": 32, "height": 32}
    assert card["batch_size"] == 16
    assert card["limits"]["max_picture_bytes"] == 100_000


def test_live_and_ready(client):
    assert client.get("/healthz").json() == {"status": "live"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_the_openapi_document_describes_the_routes(client):
    assert client.get("/docs").status_code == 200
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/detect", "/model", "/healthz", "/readyz"} <= set(paths)
    assert "413" in paths["/detect"]["post"]["responses"]


def test_bad_input_leaves_the_replica_alive(client):
    before = client.get("/model").json()["engine"]
    for body in (b"", b"rubbish", grey_picture(1, "JPEG", 128)[:-100]):
        client.post("/detect", content=body)
    assert client.get("/model").json()["engine"] == before
    assert client.post("/detect", content=grey_picture(8)).json()["boxes"][0]["class_id"] == 8


def test_overload_is_503_with_retry_after(running_serve):
    app = running_serve.full()
    with app.client() as client:
        slow = threading.Thread(target=client.post, args=("/detect",), kwargs={"content": grey_picture(1)})
        slow.start()
        time.sleep(0.4)
        response = client.post("/detect", content=grey_picture(2))
        slow.join()
    assert error_of(response) == (503, "overloaded")
    assert int(response.headers["Retry-After"]) >= 1


def test_a_body_that_does_not_arrive_is_504(running_serve):
    def drip():
        yield b"\xff\xd8"
        time.sleep(1)
        yield b"\xff"

    with running_serve.late().client() as client:
        assert error_of(client.post("/detect", content=drip())) == (504, "deadline_exceeded")


def test_bodies_that_never_arrive_leave_room_for_probes_and_for_quick_ones_and_are_bounded(running_serve):
    app = running_serve.deploy(max_queue=2, batch_size=1)
    url = urlsplit(app.url)
    begun = f"POST {url.path}/detect HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 1000\r\n\r\nslow".encode()

    def begin_body() -> socket.socket:
        connection = socket.create_connection((url.hostname, url.port))
        connection.sendall(begun)
        return connection

    with ExitStack() as connections, app.client(timeout=5) as client:
        slow = [connections.enter_context(begin_body()) for _ in range(4)]
        for _ in range(20):  # one by one: Serve itself would refuse a burst
            slow.append(connections.enter_context(begin_body()))
            [refused], _, _ = select.select(slow, [], [], 20)
            answer = HTTPResponse(refused)
            answer.begin()
            assert (answer.status, answer.getheader("Retry-After")) == (503, "1")
            assert b"4 bodies are arriving" in answer.read()
            slow.remove(refused)
        assert client.get("/readyz").status_code == client.get("/healthz").status_code == 200
        deadline = time.monotonic() + 10
        while (answer := client.post("/detect", content=grey_picture(1))).status_code == 503:
            assert time.monotonic() < deadline, "slow bodies keep the places"
        assert answer.json()["boxes"][0]["class_id"] == 1


def test_a_late_answer_is_504(running_serve):
    with running_serve.late().client() as client:
        assert error_of(client.post("/detect", content=grey_picture(1))) == (504, "deadline_exceeded")


def test_a_picture_whose_client_hung_up_is_not_run(running_serve):
    app = running_serve.slow()
    before = engine_report(app.ask(0, confidence=0.05))[1]
    running = app.handle.detect.remote(grey_picture(1))
    time.sleep(0.2)
    with app.client(timeout=0.3) as client, pytest.raises(httpx.ReadTimeout):
        client.post("/detect", content=grey_picture(2))
    running.result()
    assert engine_report(app.ask(3, confidence=0.05))[1] == before + 2


def test_a_lost_gpu_is_503_and_not_ready():
    async def asked() -> list[httpx.Response]:
        async with in_process.client() as client:
            lost = await client.post("/detect", content=grey_picture(LOST))
            return [lost, await client.get("/readyz"), await client.get("/healthz")]

    with in_process.replica():
        answers = asyncio.run(asked())
    for answer in answers:
        documented.check(answer)
    assert [error_of(answer) for answer in answers[:2]] == [(503, "gpu_lost")] * 2
    assert "Retry-After" in answers[0].headers
    assert answers[2].status_code == 200


def drawn(response) -> Image.Image:
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/jpeg"
    return Image.open(io.BytesIO(response.content)).convert("RGB")


def is_coloured(pixel: tuple[int, ...]) -> bool:
    return max(pixel) - min(pixel) > 30  # JPEG pales thin lines


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?format=image", {}),
        ("?format=image", {"Accept": "application/json"}),
        ("", {"Accept": "image/jpeg"}),
        ("", {"Accept": "image/jpeg, */*"}),
        ("", {"Accept": "application/json;q=0.5, image/*"}),
    ],
)
def test_the_drawn_picture_is_a_jpeg_with_the_boxes_on_it(client, query, headers):
    response = client.post(f"/detect{query}", content=grey_picture(40, size=256), headers=headers)
    picture = drawn(response)
    assert picture.size == (256, 256)
    # The stand-in's box is (4, 8) to (20, 24) of 32 pixels.
    assert is_coloured(picture.getpixel((32, 150)))
    assert is_coloured(picture.getpixel((159, 150)))
    assert not is_coloured(picture.getpixel((96, 128)))
    stages = dict(stage.split(";dur=") for stage in response.headers["server-timing"].split(", "))
    assert list(stages) == ["decode", "queue", "engine", "draw", "total"]
    assert float(stages["total"]) >= float(stages["engine"]) + float(stages["draw"])


@pytest.mark.parametrize(
    ("query", "accept"),
    [
        ("", "*/*"),
        ("?format=json", "image/jpeg"),
        ("", "image/jpeg, application/json"),
        ("", "image/jpeg;q=0.1, */*"),
        ("", "image/jpeg;q=0"),
        ("", "image/jpeg;q=much"),
        ("", "text/html, image/png, image/webp"),
    ],
)
def test_who_does_not_prefer_a_jpeg_gets_json(client, query, accept):
    response = client.post(f"/detect{query}", content=grey_picture(40), headers={"Accept": accept})
    assert response.json()["boxes"][0]["class_id"] == 40


def test_the_drawn_picture_is_upright_and_filtered(client):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", (200, 100), (90, 90, 90)).save(file, "JPEG", exif=exif)
    picture = drawn(client.post("/detect?format=image&confidence=0.95", content=file.getvalue()))
    assert picture.size == (100, 200)
    assert not any(is_coloured(pixel) for _, pixel in picture.getcolors(20_000))


def test_one_picture_as_multipart_can_be_drawn_and_several_cannot(client):
    one = client.post("/detect?format=image", files=files(grey_picture(5, size=64)))
    assert drawn(one).size == (64, 64)
    several = client.post("/detect?format=image", files=files(grey_picture(5), grey_picture(6)))
    assert error_of(several) == (422, "invalid_parameter")
    assert "given 2" in several.json()["error"]["message"]


def test_errors_stay_json_where_a_picture_is_asked_for(client):
    headers = {"Accept": "image/jpeg"}
    assert error_of(client.post("/detect", content=b"hello", headers=headers)) == (415, "not_a_picture")
    assert error_of(client.post("/detect", files=files(b"hello"), headers=headers)) == (415, "not_a_picture")
    bad = client.post("/detect?format=gif", content=grey_picture(5))
    assert error_of(bad) == (422, "invalid_parameter")
    assert "format" in bad.json()["error"]["message"]
    assert "gif" in bad.json()["error"]["message"]


def test_a_picture_that_no_jpeg_can_hold_is_refused_by_name(client):
    file = io.BytesIO()
    Image.new("L", (65_501, 2)).save(file, "PNG")
    assert client.post("/detect", content=file.getvalue()).status_code == 200
    response = client.post("/detect?format=image", content=file.getvalue())
    assert error_of(response) == (413, "picture_too_large")
    assert "65500" in response.json()["error"]["message"]


def test_the_openapi_document_describes_both_answers(client):
    operation = client.get("/openapi.json").json()["paths"]["/detect"]["post"]
    assert set(operation["responses"]["200"]["content"]) == {"application/json", "image/jpeg"}
    [parameter] = [p for p in operation["parameters"] if p["name"] == "format"]
    assert "image" in str(parameter["schema"])
