"""ApplicationHint: what a catalogue answers over gRPC, where the metadata name the application of a model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from deployments.catalog.catalog import Catalog
from deployments.errors import UnknownModelError
from deployments.frontends.open_inference.grpc_messages import named_model
from deployments.frontends.open_inference.grpc_service import OpenInferenceGrpc


class ApplicationHint(OpenInferenceGrpc):
    """Refuses every call of the protocol's methods, and says which application to name; a mixin of the deployment."""

    catalog: Catalog

    @asynccontextmanager
    async def received(self, method: str, data: bytes, grpc_context: Any) -> AsyncIterator[None]:
        """Refuses a request.

        Raises:
            UnknownModelError: It names the application of the model that the message names.
            ModelForbiddenError: The call's key is for other models.
            BadInputError: As `OpenInferenceGrpc.received`.
        """
        with await self.admitted(self.key_of(method, grpc_context), pictures=False):
            model, told = "NAME", "a model NAME"
            if named := named_model(method, data):
                model = self.catalog.of_protocol(named)
                self.catalog.settings_of(model)  # refuses an unknown or a forbidden one
                told = repr(model)
            application = self.catalog.applications.application_of(model)
            raise UnknownModelError(
                f"the catalogue answers no gRPC: the metadata must name the application of {told}, "
                f"`application: {application}`"
            )
        yield  # never reached: it makes this a context manager
