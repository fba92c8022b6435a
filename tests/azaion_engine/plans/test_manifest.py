"""PlanKey and PlanManifest: which differences prevent reuse, their messages, and unreadable manifests."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from azaion_engine.plans.manifest import SCHEMA_VERSION, PlanKey, PlanManifest, differences
from tests.azaion_engine.keys import KEY

OTHER: dict[str, tuple[Any, str]] = {
    "model_sha256": ("cd" * 32, f"model: built with {'cd' * 32}, this is {'ab' * 32}"),
    "tensorrt_flavour": ("tensorrt_rtx", "TensorRT flavour: built with tensorrt_rtx, this is tensorrt"),
    "tensorrt_version": ("8.6.0", "TensorRT version: built with 8.6.0, this is 10.13.0"),
    "precision": ("fp32", "precision: built with fp32, this is fp16"),
    "input_shape": ((640, 640), "input height and width: built with 640x640, this is 640x1280"),
    "batch_profile": ((1, 8, 8), "batch profile (min, opt, max): built with 1/8/8, this is 1/16/32"),
    "optimization_level": (3, "optimization level: built with 3, this is TensorRT's default"),
    "gpu_name": ("NVIDIA H200", "GPU: built with NVIDIA H200, this is NVIDIA H100 80GB HBM3"),
    "compute_capability": ((8, 9), "compute capability: built with 8.9, this is 9.0"),
    "sm_count": (114, "SM count: built with 114, this is 132"),
    "gpu_memory_gib": (141, "GPU memory: built with 141 GiB, this is 80 GiB"),
    "recipe": (1, "build recipe: built with 1, this is 3"),
}


def manifest_json(**changes: Any) -> bytes:
    fields = json.loads(PlanManifest.of_plan(KEY, b"plan", 1.0).to_json())
    return json.dumps({**fields, **changes}).encode()


def test_the_table_of_differences_covers_every_field_of_the_key() -> None:
    assert set(OTHER) == set(PlanKey.model_fields)


@pytest.mark.parametrize("field", OTHER)
def test_each_field_decides_reuse_and_is_named_in_one_sentence(field: str) -> None:
    value, sentence = OTHER[field]
    assert differences(KEY, KEY.model_copy(update={field: value})) == [sentence]


def test_equal_keys_have_no_differences_and_several_are_all_named() -> None:
    assert differences(KEY, KEY.model_copy()) == []
    found = KEY.model_copy(update={name: value for name, (value, _) in OTHER.items()})
    assert differences(KEY, found) == [sentence for _, sentence in OTHER.values()]


@pytest.mark.parametrize("field", OTHER)
def test_the_folder_follows_model_and_configuration_not_the_machine(field: str) -> None:
    chosen = {"model_sha256", "precision", "input_shape", "batch_profile", "optimization_level"}
    other = KEY.model_copy(update={field: OTHER[field][0]}).folder_hash()
    assert re.fullmatch("[0-9a-f]{12}", other)
    assert (other != KEY.folder_hash()) == (field in chosen)


def test_key_is_frozen_and_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValidationError):
        KEY.precision = "fp32"
    with pytest.raises(ValidationError):
        PlanKey.model_validate({**KEY.model_dump(), "gpu_uuid": "GPU-1"})
    with pytest.raises(ValidationError):
        PlanKey.model_validate({**KEY.model_dump(), "model_sha256": "not a hash"})


def test_manifest_describes_the_plan_and_survives_the_file() -> None:
    manifest = PlanManifest.of_plan(KEY, b"plan", 12.34567)
    assert manifest.plan_sha256 == hashlib.sha256(b"plan").hexdigest()
    assert (manifest.plan_bytes, manifest.build_seconds) == (4, 12.346)
    assert manifest.built_at.utcoffset() == timedelta(0)
    assert json.loads(manifest.to_json())["built_at"].endswith("Z")
    assert manifest.azaion_engine_version
    assert PlanManifest.from_json(manifest.to_json()) == manifest


def test_fault_of_tells_truncated_from_too_long_from_corrupt() -> None:
    manifest = PlanManifest.of_plan(KEY, b"plan", 1.0)
    assert manifest.fault_of(b"plan") == ""
    assert manifest.fault_of(b"pla") == "plan truncated: 3 bytes, expected 4"
    assert manifest.fault_of(b"plan!") == "plan too long: 5 bytes, expected 4"
    assert "corrupt" in manifest.fault_of(b"plaN")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "JSON"),
        (b"\x00\xff\xfe", "JSON"),
        (b"[]", "object"),
        (b"{}", "schema_version"),
        (b"[" * 100_000, "JSON"),
        (manifest_json()[:-20], "JSON"),
        (manifest_json(schema_version=SCHEMA_VERSION + 1, more=1), f"schema {SCHEMA_VERSION + 1} is newer"),
        (manifest_json(schema_version=0), "schema 0 is older"),
        (manifest_json(schema_version="x"), "schema_version"),
        (manifest_json(more=1), "more"),
        (manifest_json(plan_sha256="x"), "plan_sha256"),
        (manifest_json(built_at="2026-01-01T00:00:00"), "built_at"),
        (manifest_json(key={}), "key.model_sha256"),
    ],
)
def test_what_is_no_manifest_is_refused_in_one_line(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        PlanManifest.from_json(data)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_a_value_error_only(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        PlanManifest.from_json(data)
