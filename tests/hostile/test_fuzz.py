"""Fuzzing, its short form; `make fuzz` runs the long one."""

from __future__ import annotations

import random

import pytest

from tests.hostile.fuzz import fault_of, fuzz
from tests.hostile.fuzz_requests import fuzz_requests
from tests.hostile.measuring import Cost, measure, warm_up
from tests.hostile.mutations import mutate
from tests.hostile.seeds import seeds

# Pillow warns about the metadata of many damaged files.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_every_seed_is_a_picture() -> None:
    assert {name: cost.outcome for name, cost in ((n, measure(data)) for n, data in seeds().items())} == dict.fromkeys(
        seeds(), "picture"
    )


def test_mutated_pictures_break_no_bound() -> None:
    warm_up()
    report = fuzz(seed=7, count=3000)
    assert not [(fault.name, fault.what) for fault in report.faults]
    assert report.pictures == 3000
    assert min(report.outcomes["picture"], report.outcomes["picture_undecodable"]) > 300


def test_mutated_requests_are_answered_or_refused() -> None:
    outcomes, faults = fuzz_requests(seed=7, count=300)
    assert not faults
    assert {"detect 200", "detect 400", "numbers 200", "numbers 400", "picture in JSON 200"} <= set(outcomes)


def test_the_same_seed_gives_the_same_mutations_and_nearly_all_differ_from_the_picture() -> None:
    pictures = list(seeds().values())

    def some() -> list[bytes]:
        chance = random.Random(5)
        return [mutate(picture, pictures[0], chance) for picture in pictures * 5]

    first = some()
    assert first == some()
    assert sum(mutated != picture for mutated, picture in zip(first, pictures * 5, strict=True)) > 0.9 * len(first)


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (Cost(0.1, 1, 10, "picture", ""), ""),
        (Cost(1.5, 1, 10, "picture", ""), "1.50 s"),
        (Cost(0.1, 100 * 2**20, 10, "picture_undecodable", ""), "100.0 MiB"),
        (Cost(0.1, 1, 10, "untyped: KeyError", "'x'"), "KeyError"),
    ],
)
def test_each_bound_is_held(cost: Cost, words: str) -> None:
    assert bool(fault_of(cost)) == bool(words)
    assert words in fault_of(cost)
