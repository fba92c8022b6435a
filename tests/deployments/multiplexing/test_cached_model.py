"""CachedModel: what clients and the catalogue are told of a model that is not open."""

from __future__ import annotations

import asyncio
import time

import pytest

from deployments.multiplexing.cached_model import MOST_RETRY_S, CachedModel


@pytest.fixture
def model() -> CachedModel:
    return CachedModel("cars")


@pytest.mark.parametrize(
    ("took_s", "gone_s", "expected_s"),
    [
        (None, None, 1),
        (None, 40.5, 41),
        (30.0, None, 30),
        (30.0, 10.5, 20),
        (30.0, 99.0, 1),
        (9999.0, 1.0, MOST_RETRY_S),
    ],
)
def test_a_retry_is_due_when_opening_should_be_over(
    model: CachedModel, monkeypatch: pytest.MonkeyPatch, took_s: float | None, gone_s: float | None, expected_s: int
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    model.load_s = took_s
    model.began = None if gone_s is None else 1000.0 - gone_s
    assert model.retry_after_s() == expected_s


def test_a_request_is_told_how_long_opening_takes(model: CachedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    model.load_s, model.began = 30.0, 990.0
    refused = model.waited_error(2.5)
    assert str(refused) == (
        "the model 'cars' is rarely used and has been loading for 10 s, which took 30 s the last time; "
        "this request waited 2.5 s, try again later"
    )
    assert refused.retry_after_s == 20


def test_an_error_without_a_message_is_reported_by_its_type(model: CachedModel) -> None:
    model.fail(MemoryError(), 60.0)
    report = model.report()
    assert (report.state, report.message) == ("failed", "MemoryError")
    assert str(model.failed_error(7.2)) == "the model 'cars' could not be loaded: MemoryError"
    assert model.failed_error(7.2).retry_after_s == 8


def test_only_requests_that_still_wait_become_users() -> None:
    async def scenario() -> None:
        model, service = CachedModel("cars"), object()
        for _ in range(3):
            model.waiting.append(asyncio.get_running_loop().create_future())
        model.waiting[0].cancel()
        model.grant(service)  # type: ignore[arg-type]
        assert model.users == 2
        assert [each.result() for each in model.waiting[1:]] == [service, service]
        model.release()
        assert not model.idle.is_set()
        model.release()
        assert model.idle.is_set()

    asyncio.run(scenario())
