"""RareModels: the models that are rarely used, and what their replicas need to know of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

from deployments.settings import RarelyUsedSettings, ServiceSettings


class RareModels(NamedTuple):
    """The models that are rarely used.

    Attributes:
        models: Name → settings.
        replicas: Settings of the replicas that they share.
        rarely_used: How many of them are loaded at a time.
        sharing: Number of models in memory at a time, of these and of all others, which share it.
        all_replicas: Number of replicas of all models of the service, at most; they keep the limits of keys together.
        check: Opens a new version in a process of its own, and raises an AzaionError if it is refused, or no longer
            wanted; None in tests.
    """

    models: Mapping[str, ServiceSettings]
    replicas: ServiceSettings
    rarely_used: RarelyUsedSettings
    sharing: int
    all_replicas: int
    check: Callable[[ServiceSettings, threading.Event], None] | None
