"""PlanManifest: what a stored TensorRT plan was built from, and whether it may be used here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from azaion_engine.plans.agreement import Agreement
from azaion_engine.version import __version__

SCHEMA_VERSION = 3
"""Increase it whenever a field is added, removed or changes its meaning; manifests of other versions are not read."""

_SHA256 = r"^[0-9a-f]{64}$"

_FOLDER_FIELDS = {"model_sha256", "precision", "input_shape", "batch_profile", "optimization_level"}
"""Fields that the user chooses. The machine's fields are left out: a new TensorRT replaces the plan in its folder."""


class PlanKey(BaseModel):
    """All properties that decide whether a plan may be reused; equal keys may share one plan.

    The GPU's UUID is left out on purpose: another card of the same kind runs the same plan. `differences` uses the
    titles in its messages.
    """

    # Some pydantic versions reserve the prefix "model_".
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_sha256: str = Field(title="model", pattern=_SHA256)
    tensorrt_flavour: str = Field(title="TensorRT flavour", min_length=1)
    tensorrt_version: str = Field(title="TensorRT version", min_length=1)
    precision: str = Field(title="precision", min_length=1)
    input_shape: tuple[int, int] = Field(title="input height and width")
    batch_profile: tuple[int, int, int] = Field(title="batch profile (min, opt, max)")
    optimization_level: int | None = Field(title="optimization level")
    gpu_name: str = Field(title="GPU")
    compute_capability: tuple[int, int] = Field(title="compute capability")
    sm_count: int = Field(title="SM count")
    # Whole GiB: the exact size changes with the driver, but plans stay valid.
    gpu_memory_gib: int = Field(title="GPU memory")
    recipe: int = Field(title="build recipe")

    def folder_hash(self) -> str:
        """Returns 12 hex digits of a hash of model and configuration, so that configurations keep separate plans."""
        chosen = self.model_dump(mode="json", include=_FOLDER_FIELDS)
        canonical = json.dumps(chosen, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class PlanManifest(BaseModel):
    """The JSON file beside a plan.

    It contains the plan's hash, so that a plan and a manifest that do not match, as after a crash, are never used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    schema_version: int = SCHEMA_VERSION
    key: PlanKey
    plan_sha256: str = Field(pattern=_SHA256)
    plan_bytes: int = Field(ge=0)
    build_seconds: float = Field(ge=0)
    built_at: AwareDatetime
    azaion_engine_version: str
    agreement: Agreement | None = None

    @classmethod
    def of_plan(
        cls, key: PlanKey, plan: bytes, build_seconds: float, agreement: Agreement | None = None
    ) -> PlanManifest:
        """Makes the manifest of a plan that was built just now.

        Args:
            key: What the plan was built from.
            plan: The serialised plan.
            build_seconds: Duration of the build.
            agreement: How far its boxes agree with ONNX Runtime's, if they were compared.

        Returns:
            The manifest to write beside the plan.
        """
        return cls(
            key=key,
            plan_sha256=hashlib.sha256(plan).hexdigest(),
            plan_bytes=len(plan),
            build_seconds=round(build_seconds, 3),
            built_at=datetime.now(timezone.utc),
            azaion_engine_version=__version__,
            agreement=agreement,
        )

    @classmethod
    def from_json(cls, data: bytes) -> PlanManifest:
        """Reads a manifest file.

        Args:
            data: Content of the file.

        Returns:
            The manifest.

        Raises:
            ValueError: The content is no manifest of this schema; the message gives the reason in one line.
        """
        try:
            # Check the version first: the error should name a newer schema, not its unknown fields.
            found = _SchemaVersion.model_validate_json(data).schema_version
            if found != SCHEMA_VERSION:
                age = "newer" if found > SCHEMA_VERSION else "older"
                raise ValueError(f"its schema {found} is {age} than {SCHEMA_VERSION}, the one read here")
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from error

    def fault_of(self, plan: bytes) -> str:
        """Returns why these bytes are not the described plan; empty when they are."""
        if len(plan) != self.plan_bytes:
            word = "truncated" if len(plan) < self.plan_bytes else "too long"
            return f"plan {word}: {len(plan)} bytes, expected {self.plan_bytes}"
        if hashlib.sha256(plan).hexdigest() != self.plan_sha256:
            return "plan corrupt: its SHA-256 differs from the manifest's"
        return ""

    def to_json(self) -> bytes:
        """Returns the content of the manifest file."""
        return self.model_dump_json(indent=2).encode() + b"\n"


class _SchemaVersion(BaseModel):
    model_config = ConfigDict(extra="ignore")

    schema_version: int


def differences(wanted: PlanKey, found: PlanKey) -> list[str]:
    """Lists the reasons why a plan cannot be reused.

    Args:
        wanted: The key needed now on this machine.
        found: The key that the plan was built from.

    Returns:
        One sentence per differing field, such as "TensorRT version: built with 8.6.0, this is
        10.13.0"; empty when the plan may be reused.
    """
    sentences = []
    for name, field in PlanKey.model_fields.items():
        ours, theirs = getattr(wanted, name), getattr(found, name)
        if ours != theirs:
            show = _FORMATS.get(name, str)
            sentences.append(f"{field.title}: built with {show(theirs)}, this is {show(ours)}")
    return sentences


_FORMATS: dict[str, Callable[[Any], str]] = {
    "input_shape": lambda shape: f"{shape[0]}x{shape[1]}",
    "batch_profile": lambda profile: "/".join(str(size) for size in profile),
    "optimization_level": lambda level: "TensorRT's default" if level is None else str(level),
    "compute_capability": lambda capability: f"{capability[0]}.{capability[1]}",
    "gpu_memory_gib": lambda size: f"{size} GiB",
}
