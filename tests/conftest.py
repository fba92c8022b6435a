from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:  # most tests need no Ray, and importing it is slow
    from tests.running_serve import Deployed, RunningServe

settings.register_profile("untimed", deadline=None)  # another test's load is no failure of this one
settings.load_profile("untimed")


_FIXTURES_OF_RAY = {"running_serve", "last_ray_ends"}


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Marks the tests that start Ray, and runs the modules first that can share one: others end the shared one."""
    with_ray = {item.module for item in items if _FIXTURES_OF_RAY & {*item.fixturenames} or _starts_ray(item.module)}
    for item in items:
        if item.module in with_ray or "no_ray" in item.fixturenames:
            item.add_marker("ray")
    sharing = {item.module for item in items if "running_serve" in item.fixturenames}
    alone = {item.module for item in items if "plain_alone" in item.fixturenames}  # it ends applications that last
    items.sort(key=lambda item: (item.module not in sharing, item.module not in alone))


def _starts_ray(module: object) -> bool:
    return hasattr(module, "start_ray") or hasattr(module, "end_ray")


@pytest.fixture(scope="session")
def last_ray_ends() -> Iterator[None]:
    """Ends Ray after the last test; fixtures that use Ray depend on it and may leave Ray running."""
    from tests.running_serve import end_ray

    yield
    end_ray()


@pytest.fixture(scope="module")
def running_serve(last_ray_ends: None) -> Iterator[RunningServe]:
    """Serve on a Ray with many logical CPUs and no GPU; a module's own applications are deleted after it."""
    from tests.running_serve import serve_on

    running = serve_on(num_cpus=32, num_gpus=0)
    yield running
    running.end_module()


@pytest.fixture
def plain_alone(running_serve: RunningServe) -> Deployed:
    """The plain application, when no other is left: gRPC then needs no application's name."""
    app = running_serve.plain()
    running_serve.keep_only(app)
    return app


@pytest.fixture
def no_ray() -> None:
    """Ends the Ray of earlier modules, which a process started by the test would join; marks this test alone."""
    from tests.running_serve import end_ray

    end_ray()
