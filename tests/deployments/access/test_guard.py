"""Who is admitted, what a request holds of its key's limits, and what it gives back."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

import pytest

from azaion_engine.errors import ExecutionError, UnsupportedPictureError
from deployments.access.guard import Guard, current_admission
from deployments.access.keys_file import KeysFile
from deployments.access.quotas import LoneQuotas
from deployments.errors import (
    DailyLimitError,
    DeadlineExceededError,
    LimitError,
    ModelForbiddenError,
    OverloadedError,
    RateLimitError,
    ShareLimitError,
)
from tests.deployments.access.keys_made import add_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def guard_of(path: Path, max_queue: int = 40) -> Guard:
    return Guard(KeysFile(path), max_queue, LoneQuotas())


def enter(guard: Guard, secret: str, stack: ExitStack) -> None:
    """Begins a request with pictures, which ends with the stack."""
    stack.enter_context(asyncio.run(guard.admit(guard.key_of("", secret), pictures=True)))


def test_requests_that_hold_no_picture_yet_are_bounded_too(path):
    secret, other = add_key(path, share=0.1), add_key(path, "other")
    guard = guard_of(path)
    with ExitStack() as stack:
        for _ in range(8):  # twice the share of 4 pictures
            enter(guard, secret, stack)
        with pytest.raises(ShareLimitError, match="'lab' has its share of the queue"):
            enter(guard, secret, stack)
        enter(guard, other, stack)
    with ExitStack() as stack:
        enter(guard, secret, stack)


def test_a_key_for_some_models_is_refused_by_the_others(path):
    secret, any_model = add_key(path, models=("cars",)), add_key(path, "other")
    cars, ships = (Guard(KeysFile(path), 40, LoneQuotas(), model) for model in ("cars", "ships"))
    for guard, secrets in ((cars, (secret, any_model)), (ships, (any_model,)), (guard_of(path), (secret,))):
        for each in secrets:
            with ExitStack() as stack:
                enter(guard, each, stack)
    with pytest.raises(ModelForbiddenError, match="'lab' is not for the model 'ships'"):
        asyncio.run(ships.admit(ships.key_of("", secret), pictures=False))


def test_a_share_is_at_least_one_picture(path):
    secret = add_key(path, share=0.001)
    with ExitStack() as stack:
        enter(guard_of(path), secret, stack)
        admission = current_admission.get()
        with admission.picture(), pytest.raises(ShareLimitError), admission.picture():
            pass
        with admission.picture():
            pass
    assert current_admission.get() is None


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (ExecutionError("failed"), False),
        (OverloadedError("full"), False),
        (RuntimeError("a bug"), False),
        (DeadlineExceededError("took too long"), True),
        (UnsupportedPictureError("no picture"), True),
        (asyncio.CancelledError(), True),
    ],
)
def test_only_what_the_service_failed_on_is_given_back(path, error, counted):
    secret = add_key(path, daily=3)
    guard = guard_of(path)

    def fail() -> None:
        with ExitStack() as stack:
            enter(guard, secret, stack)
            for _ in range(3):
                with current_admission.get().picture():
                    pass
            raise error

    with pytest.raises(type(error)):
        fail()
    with ExitStack() as stack:
        if counted:
            with pytest.raises(DailyLimitError):
                enter(guard, secret, stack)
        else:
            enter(guard, secret, stack)


def test_the_first_picture_is_counted_once(path):
    secret = add_key(path, daily=3)
    guard = guard_of(path)
    for _ in range(3):
        with ExitStack() as stack:
            enter(guard, secret, stack)
            with current_admission.get().picture():
                pass
    with ExitStack() as stack, pytest.raises(DailyLimitError):
        enter(guard, secret, stack)


@pytest.mark.parametrize(("limits", "kind"), [({"rate": 0.25}, RateLimitError), ({"daily": 1}, DailyLimitError)])
def test_a_limit_says_when_to_come_back_in_whole_seconds(path, limits, kind):
    secret = add_key(path, **limits)
    guard = guard_of(path)
    with ExitStack() as stack:
        enter(guard, secret, stack)
    with ExitStack() as stack, pytest.raises(LimitError) as caught:
        enter(guard, secret, stack)
    assert type(caught.value) is kind
    assert 1 <= caught.value.retry_after_s <= (4 if kind is RateLimitError else 86400)
    assert isinstance(caught.value.retry_after_s, int)
