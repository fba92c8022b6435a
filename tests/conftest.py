from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # most tests need no Ray, which takes a second to import
    from tests.running_serve import RunningServe


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Modules that can use the same Ray come before those that start their own, which end it."""
    sharing = {item.module for item in items if "running_serve" in item.fixturenames}
    items.sort(key=lambda item: item.module not in sharing)


@pytest.fixture(scope="session")
def last_ray_ends() -> Iterator[None]:
    """Whoever uses Ray asks for this, and may leave Ray to the next module."""
    from tests.running_serve import end_ray

    yield
    end_ray()


@pytest.fixture(scope="module")
def running_serve(last_ray_ends: None) -> Iterator[RunningServe]:
    """Serve on a Ray with plenty of logical CPUs and no GPU; its applications live as long as the module."""
    from tests.running_serve import serve_on

    running = serve_on(num_cpus=32, num_gpus=0)
    yield running
    running.begin_to_delete()


@pytest.fixture
def no_ray() -> None:
    """Ends the Ray of earlier modules: a process that a test starts would join it."""
    from tests.running_serve import end_ray

    end_ray()
