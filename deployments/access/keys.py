"""Key: one key of the service as its file has it, with its limits; the key's own text is never stored."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timezone
from functools import cached_property

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from deployments.access.quota import Limits
from deployments.errors import ModelForbiddenError

PREFIX = "azk_"
"""Begins every key, so that scanners for secrets in code and logs can know one."""

_RANDOM_BYTES = 32

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""What a key's name must match: it is a label of metrics and part of log lines."""


class Key(BaseModel):
    """A key's name, the SHA-256 of its text, and its limits.

    A fast hash is enough: the text is 256 bits of randomness, which nobody can guess through it (unlike a password).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=NAME)
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Of the key's text, hex.")
    created: AwareDatetime
    enabled: bool = True
    expires: AwareDatetime | None = Field(default=None, description="From then on the key is refused.")
    share: float | None = Field(
        default=None, gt=0, le=1, description="Part of a replica's `max_queue` that the key's pictures may take."
    )
    rate: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Pictures a second, of all replicas."
    )
    burst: int | None = Field(
        default=None, ge=1, description="Pictures that may come at once within the rate; default: those of one second."
    )
    daily: int | None = Field(default=None, ge=1, description="Pictures of one day in UTC, of all replicas.")
    models: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Where several models are served, the only ones that the key is for."
    )

    @cached_property
    def limits(self) -> Limits | None:
        """The limits that all replicas keep together; None without any."""
        if self.rate is None and self.daily is None:
            return None
        return Limits(self.rate, float(self.burst or max(1.0, self.rate or 1.0)), self.daily)

    def is_for(self, model: str) -> bool:
        """Returns whether the key may ask for a model."""
        return self.models is None or model in self.models

    def refuse_forbidden(self, model: str) -> None:
        """Refuses a model that the key is not for.

        Raises:
            ModelForbiddenError: Names the key and the model.
        """
        if not self.is_for(model):
            raise ModelForbiddenError(f"the key {self.name!r} is not for the model {model!r}")

    def expired(self, now: datetime | None = None) -> bool:
        """Returns whether the key's time is over."""
        return self.expires is not None and self.expires <= (now or datetime.now(timezone.utc))


def new_secret() -> str:
    """Returns the text of a new key: `PREFIX` and 256 bits of the system's randomness in URL-safe base64."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def digest(secret: str) -> str:
    """Returns the SHA-256 of a key's text, hex."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
