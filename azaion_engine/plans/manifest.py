"""PlanManifest: what a stored TensorRT plan was built from, and whether it may be used here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from azaion_engine.version import __version__

SCHEMA_VERSION = 2
"""Raised whenever a field is added, removed or changes its meaning; manifests of other versions are not read."""

_SHA256 = r"^[0-9a-f]{64}$"

_FOLDER_FIELDS = {"model_sha256", "precision", "input_shape", "batch_profile", "optimization_level"}
"""What a user chooses, not what the machine is: a new driver or TensorRT replaces the plan in its folder."""


class PlanKey(BaseModel):
    """Everything that decides whether a plan may be reused; two equal keys may share one plan.

    The GPU's UUID is left out on purpose: another card of the same kind runs the same plan. The
    titles are the words in which `differences` speaks.
    """

    # "model_" is a prefix that some pydantic versions keep for themselves.
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
    # Whole GiB: the exact number changes with the driver, which plans survive.
    gpu_memory_gib: int = Field(title="GPU memory")
    recipe: int = Field(title="build recipe")

    def folder_hash(self) -> str:
        """Returns 12 hex digits of the model and its configuration: those of one model do not replace each other."""
        chosen = self.model_dump(mode="json", include=_FOLDER_FIELDS)
        canonical = json.dumps(chosen, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class PlanManifest(BaseModel):
    """The JSON file beside a plan.

    It carries the plan's hash, so a plan and a manifest that do not belong together are never taken
    for a pair, however a crash left them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    schema_version: int = SCHEMA_VERSION
    key: PlanKey
    plan_sha256: str = Field(pattern=_SHA256)
    plan_bytes: int = Field(ge=0)
    build_seconds: float = Field(ge=0)
    built_at: AwareDatetime
    azaion_engine_version: str

    @classmethod
    def of_plan(cls, key: PlanKey, plan: bytes, build_seconds: float) -> PlanManifest:
        """Describes a plan that was built just now.

        Args:
            key: What the plan was built from.
            plan: The serialised plan.
            build_seconds: How long the build took.

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
        )

    @classmethod
    def from_json(cls, data: bytes) -> PlanManifest:
        """Reads a manifest file.

        Args:
            data: Content of the file.

        Returns:
            The manifest.

        Raises:
            ValueError: The content is no manifest of this schema; says in one line why.
        """
        try:
            # The version first: a newer schema should be named as such, not as a pile of unknown fields.
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
        """Says why these bytes are not the plan described here; empty when they are."""
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
    """Says what keeps a plan from being reused.

    Args:
        wanted: What is needed here and now.
        found: What the plan was built from.

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
