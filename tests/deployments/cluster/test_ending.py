"""Ending of Serve: its proxies wait for the last replica."""

from __future__ import annotations

from typing import Any

import pytest
from ray.serve._private.deployment_state import DeploymentStateManager
from ray.serve._private.proxy_state import ProxyStateManager

from deployments.cluster.ending import let_proxies_end_last


def test_proxies_end_after_the_last_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(DeploymentStateManager, "__init__", lambda self, *args, **kwargs: None)
    monkeypatch.setattr(DeploymentStateManager, "is_ready_for_shutdown", lambda self: self.ready)
    monkeypatch.setattr(ProxyStateManager, "__init__", lambda self: None)
    monkeypatch.setattr(ProxyStateManager, "shutdown", lambda self: ended.append("proxies"))
    let_proxies_end_last()
    deployments: Any = DeploymentStateManager("kv", actors=[])
    proxies: Any = ProxyStateManager()
    deployments.ready = False
    proxies.shutdown()
    proxies.shutdown()
    assert ended == []
    deployments.ready = True
    proxies.shutdown()
    assert ended == ["proxies"]
