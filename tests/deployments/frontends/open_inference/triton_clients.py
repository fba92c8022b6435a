"""Triton clients (NVIDIA's own) against the service: HTTP and gRPC, blocking and asynchronous.

Runs in an environment of its own, started by `test_triton_clients.py`, which serves a stand-in engine: a picture of one
grey value gives one box whose class is that value, and the network's input is 32 × 32.
"""

from __future__ import annotations

import asyncio
import io
import os
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from PIL import Image
from tritonclient.utils import InferenceServerException

MODEL, RAW = "stand-in", "stand-in_raw"
MODULES = {
    "http": tritonclient.http,
    "http.aio": tritonclient.http.aio,
    "grpc": tritonclient.grpc,
    "grpc.aio": tritonclient.grpc.aio,
}


class Client:
    """One of the four clients; awaits what the asynchronous ones return."""

    def __init__(self, kind: str) -> None:
        self.module = MODULES[kind]
        self.is_http = kind.startswith("http")
        self._loop = asyncio.new_event_loop() if kind.endswith("aio") else None
        self._client = self._run(self._open)

    def _open(self):
        url = os.environ["OPEN_INFERENCE_HTTP" if self.is_http else "OPEN_INFERENCE_GRPC"]
        return self.module.InferenceServerClient(url)

    def _run(self, call, *args, **kwargs):
        if self._loop is None:
            return call(*args, **kwargs)

        async def awaited():
            result = call(*args, **kwargs)
            return await result if asyncio.iscoroutine(result) else result

        return self._loop.run_until_complete(awaited())

    def __getattr__(self, name: str):
        return lambda *args, **kwargs: self._run(getattr(self._client, name), *args, **kwargs)

    def infer_together(self, inputs):
        """Sends each input in a request of its own, all at once, in the way that each client offers."""
        if self._loop:

            async def together():
                return await asyncio.gather(*(self._client.infer(RAW, [tensor]) for tensor in inputs))

            return self._loop.run_until_complete(together())
        if self.is_http:
            with self.module.InferenceServerClient(os.environ["OPEN_INFERENCE_HTTP"], concurrency=16) as wide:
                return [r.get_result() for r in [wide.async_infer(RAW, [tensor]) for tensor in inputs]]
        futures = [Future() for _ in inputs]
        for tensor, future in zip(inputs, futures, strict=True):
            self._client.async_infer(RAW, [tensor], callback=partial(_settle, future))
        return [future.result(timeout=60) for future in futures]

    def as_dict(self, name: str, *args):
        """Calls a method that returns a dictionary over HTTP and a message over gRPC; returns a dictionary."""
        return getattr(self, name)(*args) if self.is_http else getattr(self, name)(*args, as_json=True)

    def input(self, name: str, array: np.ndarray, datatype: str, **how):
        tensor = self.module.InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array, **how)
        return tensor

    def outputs(self, *names: str):
        return [self.module.InferRequestedOutput(name) for name in names]

    def ask(self, *values: int, **options):
        """Sends grey pictures to the picture model."""
        pictures = np.array([grey_picture(value) for value in values], object)
        return self.infer(MODEL, [self.input("picture", pictures, "BYTES")], **options)

    def ask_raw(self, *values: int, dtype=np.float32, **options):
        datatype = "FP32" if dtype == np.float32 else "FP16"
        return self.infer(RAW, [self.input("images", grey_rows(*values, dtype=dtype), datatype)], **options)


def _settle(future: Future, result, error) -> None:
    if error:
        future.set_exception(error)
    else:
        future.set_result(result)


def grey_picture(value: int, size: int = 32) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()


def grey_rows(*values: int, dtype=np.float32) -> np.ndarray:
    return np.stack([np.full((3, 32, 32), value / 255, dtype) for value in values])


@pytest.fixture(params=list(MODULES))
def client(request):
    client = Client(request.param)
    yield client
    client.close()


@pytest.fixture
def http():
    client = Client("http")
    yield client
    client.close()


@contextmanager
def fails(status: int | str, *words: str):
    """Expects an error with this HTTP status or gRPC code, whose message contains these words."""
    with pytest.raises(InferenceServerException) as caught:
        yield
    assert str(status) in caught.value.status()
    for word in words:
        assert word in caught.value.message()


def bad_request(client: Client, *words: str):
    return fails(400 if client.is_http else "INVALID_ARGUMENT", *words)


def not_found(client: Client, *words: str):
    return fails(404 if client.is_http else "NOT_FOUND", *words)


def test_the_server_and_both_models_are_live_and_ready(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    for model in (MODEL, RAW):
        assert client.is_model_ready(model)
        assert client.is_model_ready(model, "1")


def test_an_unknown_model_or_version_is_not_found(client):
    for model, version in (("unicorn", ""), (MODEL, "2")):
        with not_found(client, model, MODEL, RAW):
            client.get_model_metadata(model, version)
        with not_found(client, model):
            client.infer(model, [client.input("picture", np.array([b"x"], object), "BYTES")], model_version=version)


def test_the_server_tells_its_name_and_extensions(client):
    metadata = client.as_dict("get_server_metadata")
    assert metadata["name"] == "azaion-engine"
    assert {"binary_tensor_data", "model_configuration", "statistics"} <= set(metadata["extensions"])


def test_the_metadata_names_every_tensor_with_datatype_and_shape(client):
    def tensors(model, key):
        found = client.as_dict("get_model_metadata", model)[key]
        return [(t["name"], t["datatype"], [int(size) for size in t["shape"]]) for t in found]

    assert tensors(MODEL, "inputs") == [("picture", "BYTES", [-1])]
    assert tensors(MODEL, "outputs") == [
        ("num_detections", "INT32", [-1]),
        ("boxes", "FP32", [-1, -1, 4]),
        ("confidences", "FP32", [-1, -1]),
        ("class_ids", "INT32", [-1, -1]),
        ("class_names", "BYTES", [-1, -1]),
    ]
    assert tensors(RAW, "inputs") == [("images", "FP32", [-1, 3, 32, 32])]
    assert tensors(RAW, "outputs") == [("output0", "FP32", [-1, -1, 6])]


def test_the_configuration_is_what_triton_would_give(client):
    def config(model):
        given = client.as_dict("get_model_config", model)
        return given if client.is_http else given["config"]

    raw = config(RAW)
    assert (raw["name"], raw["max_batch_size"]) == (RAW, 16)
    [tensor] = raw["input"]
    assert (tensor["name"], tensor["data_type"], tensor["format"]) == ("images", "TYPE_FP32", "FORMAT_NCHW")
    assert [int(size) for size in tensor["dims"]] == [3, 32, 32]
    assert raw["output"][0]["data_type"] == "TYPE_FP32"
    assert "dynamic_batching" in raw
    picture = config(MODEL)
    assert picture.get("max_batch_size", 0) == 0
    assert picture["input"][0]["data_type"] == "TYPE_STRING"


def test_the_index_lists_both_models(client):
    index = client.as_dict("get_model_repository_index")
    models = index if client.is_http else index["models"]
    assert [(m["name"], m["version"], m["state"]) for m in models] == [(MODEL, "1", "READY"), (RAW, "1", "READY")]


def test_statistics_count_requests_rows_and_batches(client):
    def numbers():
        [stats] = client.as_dict("get_inference_statistics", RAW)["model_stats"]
        stages = stats["inference_stats"]
        counts = [int(stats.get(key, 0)) for key in ("inference_count", "execution_count")]
        return counts + [
            int(stages[stage].get(key, 0))
            for stage, key in (("success", "count"), ("success", "ns"), ("fail", "count"), ("compute_infer", "ns"))
        ]

    before = numbers()
    client.ask_raw(1, 2, 3)
    with bad_request(client):
        client.ask_raw(*[1] * 17)
    rows, batches, successes, ns, failures, engine_ns = np.subtract(numbers(), before).tolist()
    assert (rows, successes, failures) == (3, 1, 1)
    assert batches in (1, 2)  # the gate may run the first row at once, alone
    assert ns >= engine_ns >= 20_000_000  # the stand-in takes 20 ms


def test_pictures_give_boxes_in_their_own_pixels(client):
    pictures = np.array([grey_picture(5), grey_picture(6, size=64)], object)
    result = client.infer(MODEL, [client.input("picture", pictures, "BYTES")])
    assert result.as_numpy("num_detections").tolist() == [1, 1]
    assert result.as_numpy("boxes").tolist() == [[[4, 8, 20, 24]], [[8, 16, 40, 48]]]
    assert result.as_numpy("confidences") == pytest.approx(np.array([[0.9], [0.9]]))
    assert result.as_numpy("class_ids").tolist() == [[5], [6]]
    assert result.as_numpy("class_names").tolist() == [[b"class_5"], [b"class_6"]]


def test_a_batch_in_front_of_the_shape_is_taken_too(client):
    pictures = np.array([[grey_picture(5)], [grey_picture(6)]], object)
    result = client.infer(MODEL, [client.input("picture", pictures, "BYTES")])
    assert result.as_numpy("class_ids").tolist() == [[5], [6]]


def test_confidence_and_classes_are_parameters_and_short_rows_are_padded(client):
    result = client.ask(5, 6, parameters={"classes": "6,70", "confidence": 0.5})
    assert result.as_numpy("num_detections").tolist() == [0, 1]
    assert result.as_numpy("class_ids").tolist() == [[-1], [6]]
    assert result.as_numpy("class_names").tolist() == [[b""], [b"class_6"]]
    assert result.as_numpy("boxes")[0].tolist() == [[0, 0, 0, 0]]


def test_no_box_at_all_gives_empty_tensors(client):
    result = client.ask(5, 6, parameters={"confidence": 0.95})
    assert result.as_numpy("num_detections").tolist() == [0, 0]
    assert result.as_numpy("boxes").shape == (2, 0, 4)
    assert result.as_numpy("class_names").shape == (2, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("count", [1, 5, 16])
def test_rows_of_the_network_are_answered_in_order(client, dtype, count):
    values = list(range(30, 30 + count))
    rows = client.ask_raw(*values, dtype=dtype).as_numpy("output0")
    assert (rows.dtype, rows.shape) == (np.float32, (count, 300, 6))
    assert rows[:, 0, 5].tolist() == values
    assert rows[:, 0, :4].tolist() == [[4, 8, 20, 24]] * count


def test_the_request_id_comes_back(client):
    response = client.ask(5, request_id="my-42").get_response()
    assert (response["id"] if client.is_http else response.id) == "my-42"


def test_only_the_requested_outputs_come_in_the_order_asked_for(client):
    response = client.ask(5, outputs=client.outputs("class_ids", "num_detections")).get_response()
    outputs = response["outputs"] if client.is_http else response.outputs
    names = [output["name"] if client.is_http else output.name for output in outputs]
    assert names == ["class_ids", "num_detections"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: c.ask(5, outputs=c.outputs("unicorn")), ["unicorn", "num_detections"]),
        (lambda c: c.ask(5, parameters={"confidense": 0.5}), ["confidense", "confidence"]),
        (lambda c: c.ask(5, parameters={"confidence": 2.0}), ["confidence", "2.0"]),
        (lambda c: c.ask(5, parameters={"confidence": "much"}), ["confidence", "much"]),
        (lambda c: c.ask(*[5] * 5), ["picture", "1 to 4", "[5]"]),
        (lambda c: c.ask_raw(*[5] * 17), ["images", "1 to 16", "[17, 3, 32, 32]"]),
        (lambda c: c.infer(RAW, [c.input("images", np.zeros((1, 3, 8, 8), np.float32), "FP32")]), ["[1, 3, 8, 8]"]),
        (lambda c: c.infer(RAW, [c.input("images", np.zeros((1, 3, 32, 32), np.int32), "INT32")]), ["FP32", "INT32"]),
        (lambda c: c.infer(RAW, [c.input("picture", grey_rows(1), "FP32")]), ["images", "picture"]),
        (lambda c: c.infer(MODEL, [c.input("picture", np.array([b"hello"], object), "BYTES")]), ["picture 0"]),
    ],
    ids=["output", "parameter", "range", "type", "pictures", "rows", "size", "datatype", "input", "no picture"],
)
def test_a_wrong_request_is_refused_with_what_was_expected(client, call, words):
    with bad_request(client, *words):
        call(client)
    assert client.ask(5).as_numpy("class_ids").tolist() == [[5]]


def test_one_bad_picture_fails_the_request_and_is_named(client):
    pictures = np.array([grey_picture(5), grey_picture(6)[:60], grey_picture(7)], object)
    with bad_request(client, "picture 1"):
        client.infer(MODEL, [client.input("picture", pictures, "BYTES")])


def test_shared_memory_and_classification_are_refused(client):
    tensor = client.module.InferInput("images", [1, 3, 32, 32], "FP32")
    tensor.set_shared_memory("region", 12_288)
    with bad_request(client, "shared_memory_region", "images"):
        client.infer(RAW, [tensor])
    with bad_request(client, "classification", "output0"):
        client.ask_raw(5, outputs=[client.module.InferRequestedOutput("output0", class_count=3)])


def test_what_is_not_served_says_so(client):
    with fails(404 if client.is_http else "UNIMPLEMENTED"):
        client.get_trace_settings()


def test_requests_at_once_all_get_their_own_answer(client):
    values = list(range(40))
    results = client.infer_together([client.input("images", grey_rows(value), "FP32") for value in values])
    assert [result.as_numpy("output0")[0, 0, 5] for result in results] == values


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_bodies_both_ways(client, algorithm):
    if client.is_http:
        options = {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
    else:
        options = {"compression_algorithm": algorithm}
    assert client.ask_raw(5, 6, **options).as_numpy("output0")[:, 0, 5].tolist() == [5, 6]
    with bad_request(client, "17"):
        client.ask_raw(*[5] * 17, **options)


@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True])
def test_json_and_binary_in_any_combination(http, binary_in, binary_out):
    wanted = [http.module.InferRequestedOutput("output0", binary_data=binary_out)]
    tensor = http.input("images", grey_rows(5, 6), "FP32", binary_data=binary_in)
    rows = http.infer(RAW, [tensor], outputs=wanted)
    assert rows.as_numpy("output0")[:, 0, 5].tolist() == [5, 6]
    assert ("data" in rows.get_output("output0")) is not binary_out

    wanted = [http.module.InferRequestedOutput(n, binary_data=binary_out) for n in ("class_names", "boxes")]
    boxes = http.ask(5, outputs=wanted)
    assert boxes.as_numpy("boxes").tolist() == [[[4, 8, 20, 24]]]
    [[name]] = boxes.as_numpy("class_names").tolist()
    assert name == (b"class_5" if binary_out else "class_5")


def test_each_output_can_have_its_own_form(http):
    wanted = [
        http.module.InferRequestedOutput("boxes", binary_data=True),
        http.module.InferRequestedOutput("class_ids", binary_data=False),
        http.module.InferRequestedOutput("class_names", binary_data=True),
    ]
    result = http.ask(5, 6, outputs=wanted)
    assert result.as_numpy("class_ids").tolist() == [[5], [6]]
    assert result.as_numpy("class_names").tolist() == [[b"class_5"], [b"class_6"]]
    assert result.as_numpy("boxes").shape == (2, 1, 4)
