"""Schema: what the catalogue answers, for its OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field


class Canary(BaseModel):
    """A version that answers some of the requests."""

    version: str
    share: float = Field(description="Part of the requests, 0 to 1.")


class HistoryEntry(BaseModel):
    """One version of a model."""

    version: str
    file: str = Field(description="Path of the file, as it was given.")
    state: Literal["opening", "canary", "serving", "retired", "failed", "rolled_back"]
    since: datetime
    message: str = Field(description="Why it failed.")
    agreement: str = Field(description="How far a built engine agrees with ONNX Runtime.")
    comparison: str = Field(description="How far its boxes agreed with those of the version before it.")
    changes: str = Field(description="Other classes or class ids, or another input size, than the version before it.")


class ModelEntry(BaseModel):
    """One model of the service."""

    name: str
    state: Literal["serving", "starting", "failed", "unhealthy", "ending"]
    message: str = Field(description="Why it is not served; empty if it is.")
    loaded: bool | None = Field(
        description="Whether a model that is rarely used is in memory; null for others, which always are."
    )
    load_s: float | None = Field(description="Seconds that loading it took last; null if it never was.")
    path: str = Field(description="Route of the model's own service: `/detect`, `/model` and all others lie behind it.")
    replicas: int = Field(description="Replicas that would answer.")
    version: str = Field(description="First 12 digits of the SHA-256 of the file that is served.")
    canary: Canary | None = Field(description="A version that answers some of the requests.")
    history: list[HistoryEntry] = Field(description="Versions of this service, the newest first.")
    card: dict[str, Any] | None = Field(description="As the model's own `/model` answers; null if no replica does.")


class ModelList(BaseModel):
    """The models of the service."""

    models: list[ModelEntry]
