from __future__ import annotations

import asyncio
import sys

import pytest

from deployments.batching.deadline import Deadline
from deployments.errors import DeadlineExceededError


def test_a_block_that_is_over_in_time_is_left_alone() -> None:
    async def scenario() -> str:
        with Deadline(0.02):
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)  # must not be cancelled
        return "done"

    assert asyncio.run(scenario()) == "done"


def test_what_takes_longer_is_cancelled_and_its_task_goes_on() -> None:
    seen = []

    async def slow() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def scenario() -> None:
        with pytest.raises(DeadlineExceededError, match=r"within 0\.01 s"), Deadline(0.01):
            await slow()
        await asyncio.sleep(0)
        seen.append("goes on")

    asyncio.run(scenario())
    assert seen == ["cancelled", "goes on"]


def test_whoever_cancels_the_task_is_heard() -> None:
    async def bounded() -> None:
        with Deadline(10):
            await asyncio.sleep(10)

    async def scenario() -> None:
        task = asyncio.create_task(bounded())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a task does not count who cancels it")
def test_cancelled_by_both_it_is_cancelled() -> None:
    async def bounded() -> None:
        with Deadline(0):
            asyncio.get_running_loop().call_soon(task.cancel)
            await asyncio.sleep(10)

    task: asyncio.Task[None]

    async def scenario() -> None:
        nonlocal task
        task = asyncio.create_task(bounded())
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())


def test_another_error_stays_itself() -> None:
    async def scenario() -> None:
        with Deadline(10):
            raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(scenario())
