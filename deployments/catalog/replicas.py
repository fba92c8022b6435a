"""ModelReplicas: tells the replicas of models which versions they are to serve."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from deployments.catalog.applications import ModelApplications
from deployments.versions.version import Report, Trial, Wanted

logger = logging.getLogger("ray.serve")

ANSWER_S = 30.0
"""Seconds for the replicas to answer; they answer at once, unless they end."""


class Told(NamedTuple):
    """What one replica says.

    Attributes:
        serving: Id of the version that serves there.
        reports: Version → how far it is.
    """

    serving: str
    reports: dict[str, Report]


class ModelReplicas:
    """The replicas of all models of one catalogue."""

    def __init__(self, applications: ModelApplications, handle_of: Callable[[str], Any]) -> None:
        """Tells them nothing yet.

        Args:
            applications: Of the models.
            handle_of: Returns Serve's handle of an application by its name.
        """
        self._applications = applications
        self._handle_of = handle_of

    async def follow(self, model: str, wanted: Wanted, trial: Trial | None = None) -> list[Told]:
        """Tells all replicas of a model what they are to serve.

        Args:
            model: Its name.
            wanted: What they are to serve.
            trial: How a new version is compared with the serving one.

        Returns:
            What each says; one that is ending is left out.
        """
        try:
            handle = self._handle_of(self._applications.application_of(model)).options(_by_reference=True)
            named = (model,) if model in self._applications.rare else ()  # its replicas have others, too
            response = handle.broadcast("follow", *named, wanted, trial)
            told: Sequence[Any] = await asyncio.wait_for(response.results_async(return_exceptions=True), ANSWER_S)
        except Exception as error:  # the application has no replica now, or is ending
            logger.info("the replicas of %s cannot be told what to serve: %r", model, error)
            return []
        return [Told(*each) for each in told if not isinstance(each, BaseException)]

    async def keep(self, serving: Mapping[str, str]) -> None:
        """Tells the replicas of rarely used models, which may be many, what they serve in one message.

        Args:
            serving: Model → version.
        """
        if not serving:
            return
        handle = self._handle_of(self._applications.application_of(next(iter(serving))))
        await asyncio.wait_for(handle.broadcast("keep", serving).results_async(return_exceptions=True), ANSWER_S)
