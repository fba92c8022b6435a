"""The measuring tool: its figures, and its attackers against a server that answers at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from unittest import mock

import pytest

from tests.under_attack import attackers
from tests.under_attack.__main__ import Turn, compared, held
from tests.under_attack.attackers import Attacker, dripping, post
from tests.under_attack.good_clients import Seen


def turn(answers: int, seconds: float, **others: int) -> Turn:
    return Turn(Seen(10, [seconds] * answers, Counter(others)), 0.5, 1.5, {"cpu_s": 1.0, "seen": {"408": 3}})


def test_an_attack_is_compared_with_the_turns_beside_it() -> None:
    row = compared("slow", turn(190, 0.03), [turn(210, 0.01), turn(190, 0.02)])
    assert (row["rate_ratio"], row["p99_ratio"], row["attackers_cores"]) == (0.95, 2.0, 0.1)
    assert row["others_cores"] == 0.9
    assert held(row)


@pytest.mark.parametrize("under", [turn(180, 0.01), turn(200, 0.03), turn(200, 0.01, wrong=1), turn(0, 0.01)], ids=str)
def test_less_rate_more_time_and_wrong_answers_miss_the_bar(under: Turn) -> None:
    assert not held(compared("slow", under, [turn(200, 0.01), turn(200, 0.01)]))


async def serve(answer: bytes) -> tuple[asyncio.Server, int]:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


def test_attackers_count_what_they_are_answered_and_open_no_more_than_they_may() -> None:
    async def scenario() -> tuple[Attacker, Attacker]:
        server, port = await serve(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        held, repeated = Attacker(port, 1.5), Attacker(port, 1.5)
        await asyncio.gather(held.many(dripping(b"POST"), 3), repeated.ask(post("/detect", b"x"), 0.5, clients=2))
        server.close()
        return held, repeated

    held, repeated = asyncio.run(scenario())
    assert held.seen.keys() == repeated.seen.keys() == {"408"}
    assert 3 <= held.seen["408"] <= 6
    assert 4 <= repeated.seen["408"] <= 8


def test_every_attack_makes_its_request() -> None:
    small = {"narrow": mock.DEFAULT, "jpeg_of_scans": mock.DEFAULT}
    with mock.patch.multiple(attackers.attacks, **small) as made:
        for each in made.values():
            each.return_value = b"picture"
        for attack in attackers.ATTACKS.values():
            if isinstance(attack, attackers.Repeated):
                assert attack.make().startswith(b"POST /")
