"""CacheReport: what a replica says of a model that it loads on demand."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class CacheReport(BaseModel):
    """One model in one replica."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: Literal["loaded", "loading", "not_loaded", "failed"]
    message: str = Field("", description="Why it failed.")
    load_s: float | None = Field(None, description="Seconds that opening it took last.")
    version: str | None = Field(None, description="Of the loaded model.")
    card: dict[str, Any] | None = Field(None, description="Of the loaded model.")
