"""`azaion deploy`: wrong usage. What it does is tested with a service: tests/deployments/catalog/test_on_serve.py."""

from __future__ import annotations

import json

import pytest

from azaion_cli.commands.service import deploy
from azaion_engine.errors import ConfigurationError
from deployments.errors import UnknownModelError


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
    def none_runs():
        raise ConfigurationError("no Ray runs here; start the service first, or set RAY_ADDRESS")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr(deploy, "ready_to_join", none_runs)
    ran = azaion("deploy", "cars", tiny)
    assert (ran.code, "no Ray runs here" in ran.err) == (3, True)


def test_pictures_to_compare_must_be_there(azaion, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(deploy, "_handle", lambda application: None)
    (tmp_path / "empty" / "folder.png").mkdir(parents=True)
    ran = azaion("deploy", "cars", tiny, "--compare", tmp_path / "empty")
    assert (ran.code, "found none" in ran.err) == (2, True)


def entry(state, version="b" * 12, **told):
    nothing = {"message": "", "agreement": "", "comparison": "", "changes": ""}
    return {"version": version, "state": state, **nothing, **told}


@pytest.fixture
def service(monkeypatch):
    """A service of one model; takes what its history is at each look."""

    def serve(*looks, models=("cars",), **model):
        looks = list(looks)

        def ordered(handle, method, *arguments):
            if method != "describe":
                return "b" * 12
            history = looks.pop(0) if len(looks) > 1 else looks[0]
            told = {"state": "serving", "replicas": 1, "message": "", "history": history, **model}
            return [{"name": name, **told} for name in models]

        monkeypatch.setattr(deploy, "LOOK_S", 0.001)
        monkeypatch.setattr(deploy, "_handle", lambda application: None)
        monkeypatch.setattr(deploy, "_ordered", ordered)

    return serve


@pytest.mark.parametrize(
    ("state", "code"), [("serving", 0), ("canary", 0), ("failed", 4), ("rolled_back", 4), ("retired", 4)]
)
def test_a_version_that_does_not_serve_at_the_end_is_a_failure(azaion, tiny, service, state, code):
    service([entry("opening")], [entry("opening")], [entry(state)])
    ran = azaion("deploy", "cars", tiny)
    assert ran.code == code
    assert ("does not serve: another order came between" in ran.err) == (state in ("rolled_back", "retired"))
    ran = azaion("deploy", "cars", tiny, "--json")
    assert (ran.code, json.loads(ran.out)["state"]) == (code, state)


def test_a_version_is_not_refused_for_the_failure_of_the_one_before_it(azaion, tiny, service):
    service([entry("opening")], [entry("serving")], state="failed", replicas=0, message="no detector")
    ran = azaion("deploy", "cars", tiny)
    assert (ran.code, "is refused: no detector" in ran.err, "is built" in ran.err) == (4, True, True)


@pytest.mark.parametrize("order", ["--promote", "--rollback"])
def test_an_order_to_a_model_whose_application_was_deleted_ends_and_says_so(azaion, service, order):
    service([entry("serving")], state="ending", replicas=0, message="its application was deleted")
    ran = azaion("deploy", "cars", order)
    assert (ran.code, "is refused: its application was deleted" in ran.err) == (4, True)


def test_changed_classes_are_told(azaion, tiny, service):
    service([entry("serving", comparison="99% agree", changes="classes that are gone: kite")])
    assert "(99% agree; classes that are gone: kite)" in azaion("deploy", "cars", tiny).err


@pytest.mark.parametrize("models", [("cars",), ("ships",)])
def test_a_version_of_which_the_service_tells_nothing_is_an_error_of_one_line(azaion, service, models):
    service([entry("serving", "c" * 12)], models=models)
    ran = azaion("deploy", "cars", "--rollback")
    assert (ran.code, ran.err.count("\n")) == (4, 1)
    assert "tells nothing of the version bbbbbbbbbbbb of cars any more" in ran.err


def test_a_model_that_is_not_served_is_wrong_usage(azaion, tiny, monkeypatch):
    def unknown(handle, method, *arguments):
        raise UnknownModelError("unknown model 'planes'; served here: cars")

    monkeypatch.setattr(deploy, "_handle", lambda application: None)
    monkeypatch.setattr(deploy, "_ordered", unknown)
    ran = azaion("deploy", "planes", tiny)
    assert (ran.code, "served here: cars" in ran.err) == (2, True)
