from __future__ import annotations

import pytest
from pydantic import ValidationError

from deployments.settings import ServiceSettings


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"modle": "x.onnx"}, "modle"),
        ({"confidence": 2}, "confidence"),
        ({"engine": "cuda"}, "engine"),
        ({"num_gpus": "all"}, "num_gpus"),
        ({"num_gpus": -1}, "num_gpus"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 64, "max_queue": 8}, "max_queue"),
        ({"engine": "tensorrt", "num_gpus": 0}, "engine: tensorrt"),
        ({"engine": "onnx", "num_gpus": 2}, "engine: onnx"),
        ({"autoscale": {"min_gpus": 3, "max_gpus": 2}}, "max_gpus"),
        ({"autoscale": {"max": 2}}, "max"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": float("inf")}, "timeout_s"),
        ({"cache_dir": "~nobody-at-all/engines"}, "cache_dir"),
        ({"autoscale": {"max_gpus": 2}, "num_gpus": 2}, "autoscale replaces num_gpus"),
        ({"num_gpus": True}, "num_gpus"),
        ({"replicas_per_gpu": 0}, "replicas_per_gpu"),
        ({"replicas_per_gpu": 17}, "replicas_per_gpu"),
        ({"replicas_per_gpu": "many"}, "replicas_per_gpu"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(given, named):
    with pytest.raises(ValidationError, match=named):
        ServiceSettings(**given)


def test_defaults_are_valid():
    assert ServiceSettings().num_gpus == "auto"
    assert ServiceSettings().replicas_per_gpu == "auto"
    assert ServiceSettings(replicas_per_gpu=16).replicas_per_gpu == 16


def test_one_request_never_holds_more_pictures_than_the_queue():
    assert ServiceSettings(max_pictures=64, max_queue=32).pictures_at_once == 32
    assert ServiceSettings(max_pictures=8, max_queue=32).pictures_at_once == 8


def test_a_home_folder_is_found():
    assert ServiceSettings(cache_dir="~/engines").cache_dir.is_absolute()
