"""Schema: what the catalogue answers, for its OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class ModelEntry(BaseModel):
    """One model of the service."""

    name: str
    state: Literal["serving", "starting", "failed", "unhealthy", "ending"]
    message: str = Field(description="Why it is not served; empty if it is.")
    path: str = Field(description="Route of the model's own service: `/detect`, `/model` and all others lie behind it.")
    replicas: int = Field(description="Replicas that would answer.")
    version: str | None = Field(description="First 12 digits of the SHA-256 of the file that is served.")
    card: dict[str, Any] | None = Field(description="As the model's own `/model` answers; null if no replica does.")


class ModelList(BaseModel):
    """The models of the service."""

    models: list[ModelEntry]
