"""Pictures that are kept to compare versions on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deployments.watching.recent import EVERY_S, RecentPictures
from tests.deployments.access.clocks import FakeClock
from tests.deployments.in_process import client, replica
from tests.stand_in import grey_picture


def test_the_latest_pictures_are_kept_one_a_period() -> None:
    clock = FakeClock()
    kept = RecentPictures(2, clock=clock)
    for name in (b"a", b"b", b"c"):
        kept.add(name)
        kept.add(b"within the period")
        clock.now += EVERY_S
    assert kept.kept() == (b"b", b"c")


def test_their_bytes_are_bounded() -> None:
    clock = FakeClock()
    kept = RecentPictures(10, most_bytes=10, clock=clock)
    for picture in (b"1234", b"56789", b"x" * 11, b"ab"):
        kept.add(picture)
        clock.now += EVERY_S
    assert kept.kept() == (b"56789", b"ab")


def test_a_service_keeps_pictures_that_it_answered_if_it_is_told_to(run: Callable[..., Any]) -> None:
    async def ask() -> None:
        async with client() as http:
            assert (await http.post("/detect", content=b"no picture")).status_code == 415
            assert (await http.post("/detect", content=grey_picture(5))).status_code == 200

    with replica(recent_pictures=3) as held:
        run(ask())
        assert held.service.front.recent is not None
        assert held.service.front.recent.kept() == (grey_picture(5),)
    with replica() as held:
        run(ask())
        assert held.service.front.recent is None
