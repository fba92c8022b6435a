"""HTTP routes of the protocol, called by a plain HTTP client, on a real Serve with a stand-in engine."""

from __future__ import annotations

import base64
import gzip
import json
import zlib

import numpy as np
import pytest

from tests.stand_in import POISON, grey_picture

INFER, INFER_RAW = "/v2/models/stand-in/infer", "/v2/models/stand-in_raw/infer"


@pytest.fixture(scope="module")
def client(running_serve):
    with running_serve.plain().client() as client:
        yield client


def pictures(*values: int, **tensor) -> dict:
    data = [base64.b64encode(grey_picture(value)).decode() for value in values]
    given = {"name": "picture", "datatype": "BYTES", "shape": [len(data)], "data": data}
    return {"inputs": [{**given, "parameters": {"content_type": "base64"}, **tensor}]}


def rows(*values: int) -> dict:
    data = np.stack([np.full((3, 32, 32), value / 255, np.float32) for value in values])
    return {"inputs": [{"name": "images", "datatype": "FP32", "shape": list(data.shape), "data": data.tolist()}]}


def error_of(response) -> tuple[int, str]:
    body = response.json()
    assert set(body) == {"error"}
    assert isinstance(body["error"], str)
    assert "Content-Encoding" not in response.headers  # NVIDIA's clients do not decompress errors
    return response.status_code, body["error"]


def output(response, name: str) -> list:
    assert response.status_code == 200, response.text
    [found] = [tensor for tensor in response.json()["outputs"] if tensor["name"] == name]
    return found["data"]


def test_a_picture_in_base64_needs_nothing_but_json(client):
    response = client.post(INFER, json=pictures(5, 6))
    assert response.json()["model_name"] == "stand-in"
    assert "id" not in response.json()
    assert output(response, "class_ids") == [5, 6]
    assert output(response, "class_names") == ["class_5", "class_6"]
    assert output(response, "boxes") == [4, 8, 20, 24] * 2


def test_rows_as_nested_json_are_answered(client):
    assert output(client.post(INFER_RAW, json=rows(7, 8)), "output0")[5::1800] == [7, 8]


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_body_is_read_and_the_answer_compressed_as_asked(client, encoding, compress):
    headers = {"Content-Encoding": encoding, "Accept-Encoding": encoding}
    response = client.post(INFER_RAW, content=compress(json.dumps(rows(9)).encode()), headers=headers)
    assert response.headers["Content-Encoding"] == encoding
    assert output(response, "output0")[5] == 9
    assert error_of(client.post(INFER, json={"inputs": []}, headers={"Accept-Encoding": encoding}))[0] == 400


def test_a_body_that_inflates_beyond_the_limit_is_413(client):
    bomb = gzip.compress(bytes(30_000_000))
    status, message = error_of(client.post(INFER_RAW, content=bomb, headers={"Content-Encoding": "gzip"}))
    assert (status, "inflates to more than" in message) == (413, True)


def test_a_body_above_the_limit_is_413(client):
    status, message = error_of(client.post(INFER_RAW, content=bytes(3_000_000)))
    assert (status, "3000000 bytes" in message) == (413, True)


@pytest.mark.parametrize(
    ("body", "headers", "words"),
    [
        (b"no json", {}, "no JSON"),
        (b"{}", {}, "expected the one input 'picture', given []"),
        (b"{}", {"Inference-Header-Content-Length": "9"}, "the body has 2 bytes"),
        (b"{}", {"Inference-Header-Content-Length": "-1"}, "expected a number of bytes, given '-1'"),
        (b"{}", {"Content-Encoding": "br"}, "given 'br'"),
        (json.dumps(pictures(5, parameters={})).encode(), {}, "picture 0"),
    ],
    ids=["no json", "empty", "length", "negative", "encoding", "text that is no picture"],
)
def test_a_bad_request_is_400_in_the_protocols_shape(client, body, headers, words):
    status, message = error_of(client.post(INFER, content=body, headers=headers))
    assert (status, words in message) == (400, True), message


def test_unknown_models_versions_and_paths_are_404_in_the_protocols_shape(client):
    for path in ("/v2/models/unicorn", "/v2/models/stand-in/versions/9/ready", "/v2/nothing", "/v2/logging"):
        assert error_of(client.get(path))[0] == 404
    assert error_of(client.post("/v2/models/unicorn/infer"))[0] == 404
    assert error_of(client.post("/v2/repository/models/stand-in/load"))[0] == 404
    assert client.get("/nothing").json()["error"]["code"] == "not_found"  # other paths: the service's own error shape


def test_statistics_of_all_models_have_every_number_that_perf_analyzer_reads(client):
    client.post(INFER, json=pictures(5))
    stages = ("success", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
    for stats in client.get("/v2/models/stats").json()["model_stats"]:
        assert stats["version"] == "1"
        assert isinstance(stats["inference_count"], int)
        assert isinstance(stats["execution_count"], int)
        for stage in stages:
            assert isinstance(stats["inference_stats"][stage]["count"], int)
            assert isinstance(stats["inference_stats"][stage]["ns"], int)


def test_what_the_engine_fails_on_is_500_and_tells_no_secrets(client):
    status, message = error_of(client.post(INFER, json=pictures(5, POISON)))
    assert (status, "poison" in message) == (500, False)
