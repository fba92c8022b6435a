"""KEY: a complete plan key; tests replace the field that they are about."""

from __future__ import annotations

from azaion_engine.plans.manifest import PlanKey

KEY = PlanKey(
    model_sha256="ab" * 32,
    tensorrt_flavour="tensorrt",
    tensorrt_version="10.13.0",
    precision="fp16",
    input_shape=(640, 1280),
    batch_profile=(1, 16, 32),
    optimization_level=None,
    gpu_name="NVIDIA H100 80GB HBM3",
    compute_capability=(9, 0),
    sm_count=132,
    gpu_memory_gib=80,
    recipe=3,
)
