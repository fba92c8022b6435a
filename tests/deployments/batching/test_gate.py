from __future__ import annotations

import asyncio

import pytest

from deployments.batching import gate as batch_gate
from deployments.batching.gate import BatchGate


class Recorder:
    """Requests that stay inside the gate until told to finish."""

    def __init__(self, gate: BatchGate) -> None:
        self.gate = gate
        self.inside: list[int] = []
        self.finish = {}
        self.tasks: list[asyncio.Task[None]] = []

    async def _request(self, number: int) -> None:
        wave = await self.gate.enter()
        self.inside.append(number)
        try:
            await self.finish[number].wait()
        finally:
            self.inside.remove(number)
            self.gate.leave(wave)

    async def start(self, *numbers: int) -> None:
        for number in numbers:
            self.finish[number] = asyncio.Event()
            self.tasks.append(asyncio.create_task(self._request(number)))
        await settle()

    async def end(self, *numbers: int) -> None:
        for number in numbers:
            self.finish[number].set()
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def run(scenario) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_lone_request_enters_an_idle_gate_at_once():
    async def scenario():
        requests = Recorder(BatchGate(4, 16))
        await requests.start(1)
        assert requests.inside == [1]

    run(scenario)


def test_a_shared_engine_gets_further_batches_before_they_are_full(monkeypatch):
    monkeypatch.setattr(batch_gate, "FIRST_S", 60)

    async def scenario():
        requests = Recorder(BatchGate(4, 16, lanes=2, second=2))
        await requests.start(1)
        await requests.start(2)
        assert sorted(requests.inside) == [1]
        await requests.start(3)
        assert sorted(requests.inside) == [1, 2, 3]
        await requests.start(4)
        assert sorted(requests.inside) == [1, 2, 3]
        await requests.start(5)
        assert sorted(requests.inside) == [1, 2, 3, 4, 5]
        await requests.start(6, 7, 8, 9)
        assert sorted(requests.inside) == [1, 2, 3, 4, 5], "there are as many batches as the engine needs"
        await requests.end(*range(1, 10))

    run(scenario)


def test_a_shared_engine_gets_a_small_second_batch_when_it_has_waited(monkeypatch):
    monkeypatch.setattr(batch_gate, "FIRST_S", 0.2)

    async def scenario():
        requests = Recorder(BatchGate(4, 16, lanes=2, second=3))
        await requests.start(1, 2)
        assert requests.inside == [1]
        await asyncio.sleep(0.1)
        assert requests.inside == [1, 2]
        await requests.start(3)
        await asyncio.sleep(0.1)
        assert requests.inside == [1, 2], "a third one has to be large enough, however long it waits"
        await requests.end(1)  # 3 is the second one now, and waits for a quarter of that batch's time
        assert requests.inside == [2]
        await asyncio.sleep(0.2)
        assert requests.inside == [2, 3]
        await requests.end(2, 3)
        await requests.start(4)
        assert requests.inside == [4]
        await requests.end(4)

    run(scenario)


def test_while_one_batch_runs_only_a_full_one_is_let_in():
    async def scenario():
        requests = Recorder(BatchGate(3, 16))
        await requests.start(0)
        await requests.start(1, 2)
        assert requests.inside == [0]
        await requests.start(3)
        assert sorted(requests.inside) == [0, 1, 2, 3]

    run(scenario)


def test_a_part_full_batch_collects_until_the_engine_is_free():
    async def scenario():
        requests = Recorder(BatchGate(4, 16))
        await requests.start(0)
        await requests.start(1)
        await requests.start(2)
        await requests.end(0)
        assert requests.inside == [1, 2]

    run(scenario)


def test_with_two_lanes_a_third_full_batch_is_inside_and_no_more():
    async def scenario():
        requests = Recorder(BatchGate(2, 16, lanes=2))
        await requests.start(*range(9))
        assert sorted(requests.inside) == [0, 1, 2, 3, 4]
        await requests.end(0)
        assert sorted(requests.inside) == [1, 2, 3, 4, 5, 6]

    run(scenario)


def test_never_more_than_two_batches_are_inside():
    async def scenario():
        requests = Recorder(BatchGate(2, 16))
        await requests.start(*range(8))
        assert sorted(requests.inside) == [0, 1, 2]  # a batch of one, then a full one
        await requests.end(0)
        assert sorted(requests.inside) == [1, 2, 3, 4]

    run(scenario)


def test_requests_enter_in_the_order_they_came():
    async def scenario():
        requests = Recorder(BatchGate(2, 16))
        await requests.start(0)
        await requests.start(1, 2, 3, 4)
        await requests.end(0)
        await requests.end(1, 2)
        assert requests.inside == [3, 4]

    run(scenario)


def test_a_request_that_gives_up_while_waiting_is_passed_over():
    async def scenario():
        requests = Recorder(BatchGate(2, 16))
        await requests.start(0)
        await requests.start(1)
        requests.tasks[1].cancel()
        await requests.start(2)
        await requests.end(0)
        assert requests.inside == [2]

    run(scenario)


def test_requests_that_gave_up_do_not_make_a_batch_full():
    async def scenario():
        requests = Recorder(BatchGate(3, 16))
        await requests.start(0)
        await requests.start(1, 2)
        requests.tasks[1].cancel()
        await settle()
        await requests.start(3)
        assert requests.inside == [0]

    run(scenario)


def test_a_request_let_in_and_cancelled_in_the_same_moment_frees_its_place():
    async def scenario():
        gate = BatchGate(1, 16)
        requests = Recorder(gate)
        await requests.start(0, 1, 2)
        requests.finish[0].set()
        requests.finish[1].set()
        await asyncio.sleep(0)
        requests.tasks[2].cancel()
        await settle()
        await requests.start(3)
        assert requests.inside == [3]

    run(scenario)


@pytest.mark.parametrize("seed", range(5))
def test_any_mix_of_arrivals_ends_and_cancellations_loses_nobody(seed):
    async def scenario():
        import random

        dice = random.Random(seed)
        gate = BatchGate(4, 1000)
        done = 0

        async def request() -> None:
            nonlocal done
            wave = await gate.enter()
            try:
                await asyncio.sleep(dice.random() * 0.003)
            finally:
                gate.leave(wave)
            done += 1

        tasks = []
        for _ in range(300):
            tasks.append(asyncio.create_task(request()))
            if dice.random() < 0.3:
                await asyncio.sleep(dice.random() * 0.002)
            if dice.random() < 0.3:
                dice.choice(tasks).cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        cancelled = sum(isinstance(r, asyncio.CancelledError) for r in results)
        assert done + cancelled == 300

    run(scenario)
