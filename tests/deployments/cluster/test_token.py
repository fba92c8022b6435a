"""Ray's token: a cluster that others reach without it is warned of, and refused where it is required."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from azaion_engine.errors import ConfigurationError
from deployments import app
from deployments.cluster import token
from deployments.settings import ApplicationSettings


def node(address: str, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "NodeManagerAddress": address, "Resources": {"CPU": 2.0}}


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    token.logger.addHandler(caplog.handler)
    yield caplog
    token.logger.removeHandler(caplog.handler)


@pytest.mark.parametrize(
    ("nodes", "on", "warned"),
    [
        ([node("10.0.0.1")], False, True),
        ([node("127.0.0.1"), node("127.0.0.2")], False, True),
        ([node("127.0.0.1"), node("10.0.0.1", alive=False)], False, False),
        ([node("10.0.0.1"), node("10.0.0.2")], True, False),
    ],
)
def test_a_cluster_that_others_reach_without_a_token_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture, nodes: list[Any], on: bool, warned: bool
) -> None:
    monkeypatch.setattr(token, "token_is_on", lambda: on)
    token.check_token(nodes, required=False)
    texts = [record.getMessage() for record in said.records if record.levelno == logging.WARNING]
    assert len(texts) == warned
    for text in texts:
        assert "10.0.0.1" in text or "127.0.0.2" in text
        assert "`ray get-auth-token --generate >/dev/null`" in text
        assert "`export RAY_AUTH_MODE=token`" in text


def test_a_required_token_that_is_off_refuses_to_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "nodes", lambda: [node("127.0.0.1")])
    monkeypatch.setattr(ray, "cluster_resources", dict)
    monkeypatch.setattr(token, "token_is_on", lambda: False)
    with pytest.raises(ConfigurationError, match=r"require_ray_token is set, .*RAY_AUTH_MODE=token"):
        app.build(ApplicationSettings(require_ray_token=True))
    app.build(ApplicationSettings())
    monkeypatch.setattr(token, "token_is_on", lambda: True)
    app.build(ApplicationSettings(require_ray_token=True))


def test_rays_own_answer_tells_whether_the_token_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.authentication import authentication_utils

    monkeypatch.setattr(authentication_utils, "is_token_auth_enabled", lambda: True)
    assert token.token_is_on()
    monkeypatch.setattr(authentication_utils, "is_token_auth_enabled", lambda: False)
    assert not token.token_is_on()
