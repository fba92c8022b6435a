"""Catalog: the models of a service by name: which one a request means, its state, and the handle of its replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from azaion_engine.errors import quote
from deployments.access.caller import known, refuse_forbidden, told
from deployments.catalog.applications import ModelApplications
from deployments.catalog.model_state import ModelState
from deployments.catalog.rollouts import Rollouts
from deployments.errors import ModelUnavailableError, UnknownModelError
from deployments.multiplexing.cache_report import CacheReport
from deployments.settings import ServiceSettings, model_of_protocol

CARD_S = 2.0
"""Seconds for a replica to answer the card of its model."""

_FIRST = ("loaded", "loading", "failed", "not_loaded")
"""Which of several replicas' states is told."""


class Seen(NamedTuple):
    """One model, as Serve and its replicas see it.

    Attributes:
        replicas: The state of its replicas, which it may share with others.
        cached: What they say of it if it is rarely used; None if it is not, or none of them answers.
    """

    replicas: ModelState
    cached: CacheReport | None

    @property
    def failure(self) -> str:
        """Why it could not be loaded, or its replicas could not start; empty if it is served, or may soon be."""
        if self.cached is not None and self.cached.state == "failed":
            return self.cached.message or "it could not be loaded"
        return self.replicas.failure

    @property
    def state(self) -> str:
        """As `ModelState.state`."""
        return "failed" if self.failure else self.replicas.state

    @property
    def message(self) -> str:
        """Why it is not served; empty if it is."""
        return self.failure or self.replicas.message

    @property
    def answers(self) -> bool:
        """Whether a request would be answered."""
        return self.replicas.answers and not self.failure


class Catalog:
    """The models of one service; used from one event loop."""

    def __init__(self, applications: ModelApplications, rollouts: Rollouts, handle_of: Callable[[str], Any]) -> None:
        """Creates the catalogue.

        Args:
            applications: Their applications.
            rollouts: Their versions.
            handle_of: Returns Serve's handle of an application by its name.
        """
        self.applications = applications
        self.rollouts = rollouts
        self._handle_of = handle_of
        self._handles: dict[str, Any] = {}

    @property
    def names(self) -> list[str]:
        """The names of all models, in the order of the configuration."""
        return list(self.applications.settings)

    def settings_of(self, name: str) -> ServiceSettings:
        """Returns the settings of a model.

        Raises:
            UnknownModelError: There is none of that name; the message lists those that there are.
            ModelForbiddenError: The key of the request is for others.
        """
        if (settings := self.applications.settings.get(name)) is None:
            raise UnknownModelError(f"unknown model {quote(name)}; served here: {told(self.names, 'other models')}")
        refuse_forbidden(name)
        return settings

    def of_protocol(self, name: str) -> str:
        """Returns the model that a name of the Open Inference Protocol belongs to: its own, or with `_raw`.

        Raises:
            UnknownModelError: There is no such model.
        """
        return model_of_protocol(name, self.names)

    async def states(self) -> dict[str, ModelState]:
        """Returns the state of every model."""
        return await asyncio.to_thread(self.applications.states)

    async def handle(self, name: str) -> Any:
        """Returns the handle of a model's replicas.

        Raises:
            UnknownModelError: As `settings_of`, like ModelForbiddenError.
            ModelUnavailableError: None of its replicas would answer.
        """
        self.settings_of(name)
        state = (await self.states())[name]
        if not state.answers:
            why = f" ({state.state})" + (f": {state.message}" if state.message else "") if known([name]) else ""
            raise ModelUnavailableError(f"the model {name!r} is not served now{why}")
        return self._handle(name)

    async def seen(self) -> dict[str, Seen]:
        """Returns every model as Serve and its replicas see it."""
        states = await self.states()
        cached = await self._cached(states)
        return {name: Seen(state, cached.get(name)) for name, state in states.items()}

    async def in_memory(self) -> list[str]:
        """Returns the models that answer without being loaded first."""
        seen = await self.seen()
        return [name for name, each in seen.items() if each.answers and (each.cached is None or each.cached.card)]

    async def describe(self) -> list[dict[str, Any]]:
        """Returns every model with its state, and the card of those that answer."""
        described = (self._describe(name, seen) for name, seen in (await self.seen()).items())
        return list(await asyncio.gather(*described))

    async def _describe(self, name: str, seen: Seen) -> dict[str, Any]:
        cached = seen.cached
        if name in self.applications.rare:
            card = cached.card if cached is not None else None
        else:
            card = await self._card(name) if seen.answers else None
        return {
            "name": name,
            "state": seen.state,
            "message": seen.message,
            "loaded": cached.state == "loaded" if cached is not None else None,
            "load_s": cached.load_s if cached is not None else None,
            "path": self.applications.route_of(name),
            "replicas": seen.replicas.replicas,
            **self.rollouts.record_of(name).describe(seen.failure),
            "card": card,
        }

    async def _card(self, name: str) -> dict[str, Any] | None:
        try:
            card: dict[str, Any] = await asyncio.wait_for(self._handle(name).describe.remote(), CARD_S)
        except Exception:  # a replica that ends, or is too busy: the list tells the rest
            return None
        return card

    async def _cached(self, states: Mapping[str, ModelState]) -> dict[str, CacheReport]:
        """Returns what the replicas say of the models that are rarely used: of each, what the one says that has it."""
        rare = [name for name, state in states.items() if name in self.applications.rare and state.answers]
        if not rare:
            return {}
        try:
            response = self._handle(rare[0]).broadcast("reports")
            told: Sequence[Any] = await asyncio.wait_for(response.results_async(return_exceptions=True), CARD_S)
        except Exception:  # the replicas end, or are too busy: the list tells the rest
            return {}
        found = [each for each in told if not isinstance(each, BaseException)]
        return {
            name: min((each[name] for each in found if name in each), key=lambda report: _FIRST.index(report.state))
            for name in rare
            if any(name in each for each in found)
        }

    def _handle(self, name: str) -> Any:
        if name not in self._handles:
            handle = self._handle_of(self.applications.application_of(name))
            rare = name in self.applications.rare
            self._handles[name] = handle.options(multiplexed_model_id=name) if rare else handle
        return self._handles[name]
