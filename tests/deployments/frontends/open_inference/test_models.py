"""Models: the two that a model file describes, without a server."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import onnx
import pytest

from azaion_engine import Detector
from deployments.errors import InvalidRequestError, UnknownModelError
from deployments.frontends.open_inference.messages import InferRequest, RequestedOutput
from deployments.frontends.open_inference.repository import ModelRepository, Repositories
from deployments.frontends.open_inference.statistics import ModelStatistics
from deployments.frontends.open_inference.tensors import InputTensor
from deployments.settings import ServiceSettings
from deployments.watching.stage_times import StageTimes
from tests.azaion_engine.models import make_detector


def renamed(model: bytes) -> bytes:
    """Gives the input and the output names of their own."""
    proto = onnx.load_model_from_string(model)
    names = {"images": "pixels", "output0": "rows"}
    for node in proto.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in [*proto.graph.input, *proto.graph.output]:
        value.name = names[value.name]
    return proto.SerializeToString()


@pytest.fixture
def repository(tmp_path):
    path = tmp_path / "best.onnx"
    path.write_bytes(renamed(make_detector(io_dtype="float16")))
    with Detector.open(model=str(path), engine="onnx", batch_size=4) as detector:
        yield ModelRepository(SimpleNamespace(detector=detector, settings=ServiceSettings(max_pictures=5)))


def test_the_models_carry_the_files_own_names_types_and_sizes(repository):
    assert [model["name"] for model in repository.index()] == ["best", "best_raw"]
    raw = repository.model("best_raw").metadata()
    assert raw["platform"] == "onnxruntime_onnx"
    assert raw["inputs"] == [{"name": "pixels", "datatype": "FP16", "shape": [-1, 3, 64, 64]}]
    assert raw["outputs"] == [{"name": "rows", "datatype": "FP32", "shape": [-1, 10, 6]}]
    config = repository.model("best_raw", "1").config()
    assert (config["max_batch_size"], config["input"][0]["dims"], config["output"][0]["dims"]) == (
        4,
        [3, 64, 64],
        [10, 6],
    )


def test_every_description_is_a_message_of_the_protocol(repository):
    from google.protobuf.json_format import ParseDict

    from deployments.frontends.open_inference.generated import grpc_service_pb2, model_config_pb2

    for model in repository.models.values():
        ParseDict(model.metadata(), grpc_service_pb2.ModelMetadataResponse())
        assert ParseDict(model.config(), model_config_pb2.ModelConfig()).name == model.name
    ParseDict(repository.statistics(), grpc_service_pb2.ModelStatisticsResponse())
    ParseDict(repository.server_metadata(), grpc_service_pb2.ServerMetadataResponse())


def test_an_unknown_model_is_an_error_that_lists_those_there_are(repository):
    with pytest.raises(UnknownModelError, match="'worst'; served here: best, best_raw"):
        repository.model("worst")


def test_bodies_are_bounded_by_what_a_request_can_be(repository):
    pictures, raw = repository.model("best").limits, repository.model("best_raw").limits
    assert (pictures.values, pictures.tensor_bytes, pictures.json_bytes) == (5, 2**27 + 5 * 4, 2**27 + 2**20)
    values, one_more = 4 * 3 * 64 * 64, 5 * 3 * 64 * 64
    assert (raw.values, raw.tensor_bytes, raw.json_bytes) == (values, one_more * 4, values * 24 + 2**20)
    assert raw.body_bytes(None) == raw.json_bytes
    assert raw.body_bytes(500) == 500 + one_more * 4
    assert raw.body_bytes(10**15) == raw.json_bytes + one_more * 4


@pytest.mark.parametrize("shape", [(), (0,), (6,), (1, 2), (2, 1, 1)])
def test_shapes_that_no_list_of_pictures_has_are_refused(repository, shape):
    with pytest.raises(InvalidRequestError, match=r"expected \[n\] or \[n, 1\] with n of 1 to 5"):
        repository.model("best").check_shape(InputTensor("picture", "BYTES", shape, []))


class Service:
    """A service as a repository sees it."""

    def __init__(self, like: SimpleNamespace) -> None:
        self.detector, self.settings = like.detector, like.settings


def test_a_service_keeps_its_repository_and_a_closed_one_is_forgotten(repository):
    first, second = (Service(repository._service) for _ in range(2))
    served = {first}
    repositories = Repositories(lambda: served)
    of_first = repositories.of(first)
    assert repositories.of(first) is of_first
    served.add(second)
    assert repositories.of(second) is not of_first
    assert repositories.of(first) is of_first
    served.clear()
    repositories.of(Service(repository._service))
    assert repositories.of(first) is not of_first


@pytest.mark.parametrize("model", ["best", "best_raw"])
def test_an_output_is_answered_once(repository, model):
    asked = repository.model(model)
    outputs = [RequestedOutput(name) for name in [*asked.outputs, *asked.outputs]]
    with pytest.raises(InvalidRequestError, match=f"output '{outputs[0].name}' is requested several times"):
        asyncio.run(asked.infer(InferRequest((), tuple(outputs))))


def test_requests_count_as_the_slowest_of_their_rows_and_batches_count_once():
    def part(batch: float, queue: float):
        return StageTimes(1.0, queue, 20.0, 21.0 + queue, received=0.0, batch_started=batch)

    statistics = ModelStatistics()
    statistics.succeeded(0.050, [part(1.0, 2.0), part(2.0, 22.0)])
    statistics.succeeded(0.030, [part(2.0, 3.0)])  # in the same batch as the second picture above
    statistics.failed(0.001)
    told = statistics.to_dict()
    assert (told["inference_count"], told["execution_count"]) == (3, 2)
    stages = told["inference_stats"]
    assert stages["success"] == {"count": 2, "ns": 80_000_000}
    assert stages["fail"] == {"count": 1, "ns": 1_000_000}
    assert stages["queue"] == {"count": 2, "ns": 25_000_000}
    assert stages["compute_infer"] == {"count": 2, "ns": 40_000_000}
    assert stages["compute_output"] == {"count": 2, "ns": 13_000_000}
