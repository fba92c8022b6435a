"""Soak: which processes are compared, and what misses a bar."""

from __future__ import annotations

from tests.chaos.soak import Look, Soak


def looks(pid: int, mib: dict[float, float], kind: str = "ray::ServeReplica") -> list[Look]:
    return [Look(second, kind, pid, value) for second, value in mib.items()]


def test_memory_is_compared_of_what_lived_from_the_second_round_to_the_last() -> None:
    seen = Soak(
        rows=[],
        looks=[
            *looks(1, {30: 50, 90: 100, 120: 102, 150: 101, 180: 101, 330: 103, 360: 102, 390: 107}),
            *looks(2, {390: 900}),
            *looks(3, {90: 10, 390: 10}, "haproxy"),
        ],
        round_s=60,
        sent=9,
        right=8,
        wrong=0,
        lost=[],
        refused={"503": 1},
        queue=[0.0, 0.0],
    )
    assert seen.growth() == {
        "ray::ServeReplica 1": {"start": 101.0, "end": 104.5, "ratio": 1.0347},
        "haproxy 3": {"start": 10.0, "end": 10.0, "ratio": 1.0},
    }
    assert seen.missed() == ["ray::ServeReplica 1: memory 101 to 104 MiB"]


def test_wrong_and_lost_answers_and_a_queue_miss_their_bars() -> None:
    seen = Soak([], looks(2, {390: 9}), 60, 9, 6, 1, ["UnreachableError: gone"], {}, [0.0, 2.0])
    assert [text.split(":")[0] for text in seen.missed()] == [
        "1 wrong answers",
        "azaion_client lost 1",
        "pictures left in the queues",
        "no process lived long enough for its memory to be compared",
    ]
