"""A Ray that runs is found by its processes, and tried in another one; what is none is told, and not waited for."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from azaion_cli import joining
from azaion_cli.commands import batch
from azaion_cli.exit_codes import ExitCode
from azaion_cli.joining import LocalRay, check_joins, environment_to_join, ray_to_join, ready_to_join
from azaion_engine.errors import ConfigurationError
from azaion_engine.model.file import sample_picture
from tests.azaion_cli.conftest import Ran

Cli = Callable[..., Ran]


@contextmanager
def listening(greeting: bytes) -> Iterator[str]:
    """Yields the address of something that accepts connections, greets, and says no more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_greet, args=(listener, greeting), daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def _greet(listener: socket.socket, greeting: bytes) -> None:
    held = []
    with suppress(OSError):  # the listener is closed
        while True:
            connection, _ = listener.accept()
            connection.sendall(greeting)
            held.append(connection)


def a_ray_that(does: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "ray.py").write_text(f"import os\ndef init(*_, **__): {does}\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_a_ray_that_refuses_is_told_with_its_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    a_ray_that("raise ConnectionError('the token\\nis wrong')", tmp_path, monkeypatch)
    with (
        listening(b"") as address,
        pytest.raises(ConfigurationError, match=f"cannot join the Ray at {address}: the token is wrong; if it"),
    ):
        check_joins(address, {}, 60)


def test_a_ray_at_an_ipv6_address_is_joined(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    a_ray_that("pass", tmp_path, monkeypatch)
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        check_joins(f"[::1]:{listener.getsockname()[1]}", {}, 60)


def test_this_process_gets_what_joining_needs_and_what_the_user_has_set_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    a_ray_that("assert (os.environ['NEEDED'], os.environ['OWN']) == ('1', 'mine')", tmp_path, monkeypatch)
    monkeypatch.setenv("OWN", "mine")
    monkeypatch.setenv("NEEDED", "removed afterwards")
    monkeypatch.delenv("NEEDED")
    with listening(b"") as address:
        found = LocalRay(address, {"NEEDED": "1", "OWN": "theirs"})
        monkeypatch.setattr(joining, "ray_to_join", lambda environment: found)
        assert ready_to_join("auto") == address
    assert (os.environ["NEEDED"], os.environ["OWN"]) == ("1", "mine")


def test_a_named_address_wins_over_the_user_s_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:1")
    monkeypatch.setattr(joining, "ray_to_join", lambda given: LocalRay(given["RAY_ADDRESS"], {}))
    monkeypatch.setattr(joining, "check_joins", lambda *given: asked.append(given))
    assert [ready_to_join(each) for each in (None, "10.0.0.2:2")] == ["10.0.0.1:1", "10.0.0.2:2"]
    assert asked == [("10.0.0.1:1", {}, joining.TRY_S), ("10.0.0.2:2", {}, joining.TRY_S)]


def test_an_archive_does_not_wait_where_no_ray_answers(
    azaion: Cli, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "ready_to_join", partial(ready_to_join, seconds=3))
    (tmp_path / "picture.jpg").write_bytes(sample_picture("sample_1.jpg"))
    command = ("batch", tmp_path / "picture.jpg", "--out", tmp_path / "out", "-m", tiny, "--address")
    began = time.monotonic()
    with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        ran = azaion(*command, address)
    assert (ran.code, f"what listens at {address} does not answer as a Ray does" in ran.err) == (3, True)
    ran = azaion(*command, "127.0.0.1:1")
    assert (ran.code, "no Ray answers at 127.0.0.1:1" in ran.err) == (ExitCode.ENVIRONMENT, True)
    assert time.monotonic() - began < 30


def process(proc: Path, pid: int, *arguments: str, **environment: str) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "cmdline").write_bytes("\0".join([*arguments, ""]).encode())
    (folder / "environ").write_bytes("".join(f"{name}={value}\0" for name, value in environment.items()).encode())


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(joining, "running_ray", lambda environment: environment.get("RAY_ADDRESS", ""))
    process(tmp_path, 1, "/sbin/init")
    process(tmp_path, 2, "/usr/bin/python", "agent.py", "--gcs-address=10.0.0.9:1")  # not the node itself
    (tmp_path / "3").mkdir()  # a process that has ended meanwhile
    return tmp_path


def test_the_only_ray_is_found_with_what_a_client_needs(proc: Path) -> None:
    process(proc, 7, "/ray/raylet", "--gcs-address=10.0.0.5:6379", RAY_AUTH_MODE="token", HOME="/root")
    for environment in ({}, {"RAY_ADDRESS": "auto"}):
        assert ray_to_join(environment, proc) == LocalRay("10.0.0.5:6379", {"RAY_AUTH_MODE": "token"})


def test_a_ray_on_loopback_is_not_looked_for_elsewhere(proc: Path) -> None:
    process(proc, 7, "/ray/raylet", "--gcs-address=127.0.0.1:6379")
    assert ray_to_join({}, proc) == LocalRay("127.0.0.1:6379", {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"})


def test_a_named_address_wins_and_none_or_several_are_refused(proc: Path) -> None:
    with pytest.raises(ConfigurationError, match="no Ray runs here; start the service first"):
        ray_to_join({}, proc)
    process(proc, 7, "/ray/raylet", "--gcs-address=10.0.0.5:1")
    process(proc, 8, "/ray/raylet", "--gcs-address=10.0.0.5:2", RAY_AUTH_MODE="token")
    with pytest.raises(ConfigurationError, match=r"several Rays run here: 10\.0\.0\.5:1, 10\.0\.0\.5:2"):
        ray_to_join({}, proc)
    assert ray_to_join({"RAY_ADDRESS": "10.0.0.5:2"}, proc) == LocalRay("10.0.0.5:2", {"RAY_AUTH_MODE": "token"})


def test_a_ray_named_by_loopback_is_joined_there_only_if_it_listens_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, proc: Path
) -> None:
    monkeypatch.setattr(joining, "check_joins", lambda *given: None)
    there_alone = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    with socket.create_server(("0.0.0.0", 0)) as everywhere, socket.create_server(("127.0.0.1", 0)) as here:
        for listener, needed in ((everywhere, {}), (here, there_alone)):
            given = {"RAY_ADDRESS": f"127.0.0.1:{listener.getsockname()[1]}"}
            assert ray_to_join(given, proc).environment == needed
            assert environment_to_join(given) == {**given, **needed}
        own = {**given, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
        assert environment_to_join(own) == own
