from __future__ import annotations

import pytest
from pydantic import ValidationError

from deployments.settings import ApplicationSettings, ServiceSettings


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"modle": "x.onnx"}, "modle"),
        ({"confidence": 2}, "confidence"),
        ({"engine": "cuda"}, "engine"),
        ({"num_gpus": "all"}, "num_gpus"),
        ({"num_gpus": -1}, "num_gpus"),
        ({"num_gpus": float("nan")}, "num_gpus: expected 'auto', 0 and more, .* given nan"),
        ({"num_gpus": float("inf")}, "num_gpus: .* given inf"),
        ({"input": {"scale": float("inf")}}, "input.scale"),
        ({"input": {"mean": (0, float("nan"), 0)}}, "input.mean.1"),
        ({"input": {"std": (1, float("nan"), 1)}}, "input.std.1"),
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


ODD_NAMES = ("a/b", "..", ".hidden", "", "schiffe ä", "a" * 65, "_rarely_used", "a\n", "a b", "?model=b")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"models": {}}, "models: expected at least one"),
        ({"models": None}, "models: expected at least one"),
        ({"models": None, "model": "x.onnx"}, "models: expected at least one"),
        ({"models": {"a": {"model": "demo", "num_gpus": float("nan")}}}, "models.a: .*num_gpus: .* given nan"),
        *(({"models": {name: {"model": "demo"}}}, r"(?s)models.*should match pattern") for name in ODD_NAMES),
        ({"models": {"a": {}}}, "models.a.model: expected the path"),
        ({"models": {"a": {"model": "demo"}}, "model": "x.onnx"}, "model: belongs to one model"),
        ({"models": {"a": {"model": "demo", "confidence": 2}}}, "models.a.confidence: .* given 2"),
        ({"models": {"a": {"model": "demo", "modle": 1}}}, "models.a.modle"),
        ({"models": {"a": {"model": "demo", "access": {"keys_file": "k"}}}}, "models.a.access: is the same for all"),
        ({"models": {"a": {"model": "demo", "name": "b"}}}, "models.a.name: the name is 'a'"),
        ({"models": {"a": {"model": "demo"}, "a_raw": {"model": "demo"}}}, "models.a_raw: .* raw input of a"),
        ({"models": {"a": {"model": "demo", "num_gpus": 1}}, "engine": "onnx"}, "models.a: .*engine: onnx"),
        ({"num_gpus": 1.5}, "num_gpus: .* a fraction between 0 and 1"),
        ({"models": {"a": {"model": "demo", "rarely_used": "yes"}}}, "models.a.rarely_used: expected true or false"),
        (
            {"models": {"a": {"model": "demo", "rarely_used": True, "num_gpus": 1}}},
            "models.a.num_gpus: models that are rarely used share their replicas; give it below rarely_used",
        ),
        ({"models": {"a": {"model": "demo"}}, "rarely_used": {"loaded": 2}}, "rarely_used: .* there are none"),
        ({"rarely_used": {"loaded": 2}}, "rarely_used: .* there are none"),
        ({"models": {"a": {"model": "demo", "rarely_used": True}}, "rarely_used": {"loaded": 0}}, "loaded"),
        (
            {"models": {"a": {"model": "demo", "rarely_used": True}}, "rarely_used": {"num_gpus": 1}, "engine": "onnx"},
            "rarely_used: .*engine: onnx",
        ),
    ],
)
def test_a_wrong_setting_of_several_models_is_refused_by_name(given, named):
    with pytest.raises(ValidationError, match=named):
        ApplicationSettings(**given)


def test_each_of_several_models_has_its_own_settings_over_the_common_ones():
    models = {"a": {"model": "a.onnx"}, "b": {"model": "b.onnx", "confidence": 0.5, "num_gpus": 0.5}}
    settings = ApplicationSettings(models=models, confidence=0.3, max_queue=64)
    first, second = settings.of_model("a"), settings.of_model("b")
    assert (first.name, first.model, first.confidence, first.num_gpus) == ("a", "a.onnx", 0.3, "auto")
    assert (second.name, second.model, second.confidence, second.num_gpus) == ("b", "b.onnx", 0.5, 0.5)
    assert first.max_queue == second.max_queue == 64
    assert ApplicationSettings(model="c.onnx", max_queue=32).of_the_only_model() == ServiceSettings(
        model="c.onnx", max_queue=32
    )


def test_models_that_are_rarely_used_have_their_own_settings_and_share_those_of_their_replicas():
    models = {"a": {"model": "a.onnx"}, "b": {"model": "b.onnx", "rarely_used": True, "confidence": 0.5}}
    settings = ApplicationSettings(models=models, num_gpus=2, cpu_replicas=4, rarely_used={"num_gpus": 0.5})
    assert settings.rare_models == ["b"]
    own, shared = settings.of_model("b"), settings.of_rare_models()
    assert (own.name, own.confidence, own.num_gpus, own.cpu_replicas) == ("b", 0.5, "auto", 1)
    assert (shared.num_gpus, shared.cpu_replicas, shared.replicas_per_gpu) == (0.5, 1, 1)
    assert settings.of_model("a").num_gpus == 2
    on_cpu = ApplicationSettings(models={"b": {"model": "b.onnx", "rarely_used": True, "engine": "onnx"}})
    assert (on_cpu.of_rare_models().engine, on_cpu.of_rare_models().num_gpus) == ("onnx", 0)
