"""`azaion deploy`: wrong usage. What it does is tested with a service: tests/deployments/catalog/test_on_serve.py."""

from __future__ import annotations

import pytest

from azaion_cli.commands.service import deploy
from azaion_engine.errors import ConfigurationError


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "expected one of FILE, --promote and --rollback"),
        (("FILE", "--rollback"), "expected one of FILE, --promote and --rollback"),
        (("--promote", "--canary", "0.1"), "go with a FILE"),
        (("FILE", "--canary", "1"), "expected a part between 0 and 1, given 1.0"),
        (("FILE", "--least", "0.9"), "it needs --compare"),
        (("FILE", "--compare-recent", "--least", "nan"), "expected a part from 0 to 1, given nan"),
        (("FILE", "--compare-recent", "--least", "-1"), "expected a part from 0 to 1, given -1.0"),
        (("--rollback", "--compare-recent"), "go with a FILE"),
        (("missing.onnx",), "does not exist"),
    ],
)
def test_wrong_usage_says_what_is_expected(azaion, tiny, arguments, words):
    ran = azaion("deploy", "cars", *(tiny if each == "FILE" else each for each in arguments))
    assert ran.code == 2
    assert words in ran.err


def test_without_a_running_service_the_command_says_so(azaion, tiny, monkeypatch):
    def none_runs(environment):
        raise ConfigurationError("no Ray runs here; start the service first, or set RAY_ADDRESS")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr(deploy, "ray_to_join", none_runs)
    ran = azaion("deploy", "cars", tiny)
    assert (ran.code, "no Ray runs here" in ran.err) == (3, True)


def test_pictures_to_compare_must_be_there(azaion, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(deploy, "_handle", lambda application: None)
    (tmp_path / "empty").mkdir()
    ran = azaion("deploy", "cars", tiny, "--compare", tmp_path / "empty")
    assert (ran.code, "found none" in ran.err) == (2, True)
