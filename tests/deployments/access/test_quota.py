"""Rate and daily number of one key in one process."""

from __future__ import annotations

import pytest

from deployments.access.quota import Limits, Quota
from tests.deployments.access.clocks import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def quota(clock: FakeClock, rate: float | None = None, burst: float = 1.0, daily: int | None = None) -> Quota:
    return Quota(Limits(rate, burst, daily), clock=clock, calendar=clock)


def accepted(quota: Quota, tries: int) -> int:
    """Sends single pictures; returns how many were accepted."""
    count = 0
    for _ in range(tries):
        if quota.refusal() is None:
            quota.charge(1)
            count += 1
    return count


def test_a_burst_and_then_the_rate(clock):
    limited = quota(clock, rate=2, burst=5)
    assert accepted(limited, 100) == 5
    clock.now += 3
    assert accepted(limited, 100) == 5  # not more than a burst
    clock.now += 0.5
    assert accepted(limited, 100) == 1


def test_a_refusal_says_when_the_next_picture_is_accepted(clock):
    limited = quota(clock, rate=0.5, burst=1)
    limited.charge(1)
    assert limited.refusal().wait_s == pytest.approx(2)
    clock.now += 1.9
    assert limited.refusal() is not None
    clock.now += 0.2
    assert limited.refusal() is None


def test_pictures_beyond_the_balance_are_waited_for_later(clock):
    limited = quota(clock, rate=1, burst=2)
    assert limited.refusal() is None
    limited.charge(12)
    assert limited.refusal().wait_s == pytest.approx(11)
    clock.now += 10.5
    assert limited.refusal() is not None
    clock.now += 1
    assert limited.refusal() is None


def test_the_daily_number_ends_at_midnight_utc(clock):
    limited = quota(clock, daily=3)
    assert accepted(limited, 10) == 3
    refusal = limited.refusal()
    assert refusal.daily
    assert refusal.wait_s == pytest.approx(43200)
    clock.now += 43199
    assert limited.refusal() is not None
    clock.now += 1
    assert accepted(limited, 10) == 3


def test_what_is_given_back_may_be_sent_again_but_not_more(clock):
    limited = quota(clock, rate=0.001, burst=3, daily=3)
    limited.charge(3)
    limited.charge(-2)
    assert accepted(limited, 10) == 2
    limited.charge(-100)
    assert accepted(limited, 10) == 3


def test_other_limits_keep_what_was_used(clock):
    limited = quota(clock, rate=1, burst=10, daily=100)
    limited.charge(10)
    limited.follow(Limits(1, 20, 100))
    assert accepted(limited, 100) == 10
    limited.follow(Limits(1, 5, 100))
    assert accepted(limited, 100) == 0
    limited.follow(Limits(None, 1, 100))
    assert accepted(limited, 100) == 80
    limited.follow(Limits(None, 1, 90))
    assert limited.refusal().daily


def test_a_part_is_at_least_one_picture():
    assert Limits(8, 16, 100).part(4) == Limits(2, 4, 25)
    assert Limits(1, 1, 3).part(8) == Limits(0.125, 1, 1)
    assert Limits(None, 1, None).part(8) == Limits(None, 1, None)
