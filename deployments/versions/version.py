"""Version: one model file that a model is served from; Wanted: which of them serve; Report: what a replica has done."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from deployments.errors import reported
from deployments.settings import VERSION_DIGITS, ServiceSettings


class Version(BaseModel):
    """One model file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(description="Path of the file as it was given, or `demo`.")
    sha256: str | None = Field(None, description="Of the file, hex; None if it could not be read when it was deployed.")
    kept: str | None = Field(None, description="A copy in the cache, for when the file has changed.")

    @property
    def id(self) -> str:
        """First digits of the SHA-256; the path if that is unknown."""
        return self.sha256[:VERSION_DIGITS] if self.sha256 else self.model

    def applied_to(self, settings: ServiceSettings) -> ServiceSettings:
        """Returns settings with this file; the copy, if it is on this machine."""
        copied = self.kept is not None and Path(self.kept).is_file()
        return settings.model_copy(update={"model": self.kept if copied else self.model, "model_sha256": self.sha256})


class Wanted(BaseModel):
    """What the replicas of one model are to serve."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    serving: Version = Field(description="The version that serves.")
    candidate: Version | None = Field(None, description="A version that is opened beside it.")
    share: float = Field(0.0, ge=0, le=1, description="Part of the requests that the candidate answers, once open.")

    @property
    def versions(self) -> dict[str, Version]:
        """Every version by its id."""
        return {version.id: version for version in (self.serving, self.candidate) if version is not None}


class Trial(NamedTuple):
    """How a new version is compared with the serving one.

    Attributes:
        pictures: Encoded.
        least: Least part of all boxes that must agree, 0…1; 0: the agreement is only told.
        recent: Whether it is compared on the pictures of the last requests, too, which a replica keeps if its settings
            say so.
    """

    pictures: tuple[bytes, ...]
    least: float = 0.0
    recent: bool = False


class Report(BaseModel):
    """A version on one replica."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: Literal["opening", "open", "failed"]
    message: str = Field("", description="Why it failed.")
    agreement: str = Field("", description="How far a built engine agrees with ONNX Runtime.")
    comparison: str = Field("", description="How far its boxes agree with those of the version that served.")
    changes: str = Field("", description="Other classes or class ids, or another input size, than the serving version.")

    @classmethod
    def of_error(cls, error: Exception) -> Report:
        """Returns the report of a version that an error has refused, with the begin of its message or else its type."""
        return cls(state="failed", message=reported(error))
