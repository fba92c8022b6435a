"""PlanStore: reuse, rebuilds and their reasons, one build at a time, disk errors, and processes killed at any moment.

Run as a program (`python -m tests.azaion_engine.plans.test_store`) this file is the child process of its own tests.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from azaion_engine.errors import EngineBuildError, PlanError
from azaion_engine.plans import store as engine_store
from azaion_engine.plans.manifest import PlanKey, PlanManifest
from azaion_engine.plans.store import PlanStore, StoreOutcome
from azaion_engine.system import patient_lock
from tests.azaion_engine.keys import KEY

ROOT = Path(__file__).parents[3]
FILENAME = "azaion.cc_9.0_sm_132.engine"
OLD_KEY = KEY.model_copy(update={"tensorrt_version": "8.6.0"})
FOLDER = f"yolo-{KEY.folder_hash()}"


def plan_of(key: PlanKey, size: int = 5000) -> bytes:
    """Returns the only correct plan of a key, so that tests notice wrong bytes."""
    return (f"plan of TensorRT {key.tensorrt_version};".encode() * (size // 20 + 1))[:size]


def no_build() -> bytes:
    raise AssertionError("must not build")


def get(
    directory: Path,
    key: PlanKey = KEY,
    build: Callable[[], bytes] | None = None,
    load: Callable[[bytes], bytes] = bytes,
) -> tuple[bytes, StoreOutcome]:
    return PlanStore(directory).get_or_build("yolo", FILENAME, key, build or (lambda: plan_of(key)), load)


def names(directory: Path) -> set[str]:
    """Returns the files of plans and of unfinished writes, not locks, which may stay."""
    return {path.name for path in (directory / FOLDER).glob("*") if not path.name.endswith((".lock", ".lock.holder"))}


BOTH = {FILENAME, f"{FILENAME}.json"}


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="azaion_engine")
    return caplog


def warnings_of(log: pytest.LogCaptureFixture) -> str:
    return "\n".join(r.getMessage() for r in log.records if r.levelno >= logging.WARNING and "azaion" in r.name)


# --- reuse ----------------------------------------------------------------------------------------------------------


def test_first_start_builds_and_keeps_a_clean_plan_the_second_loads(
    tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    engine, outcome = get(tmp_path)
    path = tmp_path / FOLDER / FILENAME
    assert engine == path.read_bytes() == plan_of(KEY)
    assert (outcome.action, outcome.path) == ("built", path)
    assert "no plan stored yet" in outcome.reason
    assert outcome.seconds >= 0
    assert names(tmp_path) == BOTH
    manifest = PlanManifest.from_json((tmp_path / FOLDER / f"{FILENAME}.json").read_bytes())
    assert manifest.key == KEY

    engine, outcome = get(tmp_path, build=no_build)
    assert engine == plan_of(KEY)
    assert (outcome.action, outcome.path) == ("loaded", path)
    assert warnings_of(log) == ""


def test_loading_touches_nothing_on_disk(tmp_path: Path) -> None:
    get(tmp_path)
    for entry in (tmp_path / FOLDER).glob("*.lock*"):
        entry.unlink()
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / FOLDER).iterdir()}
    get(tmp_path, build=no_build)
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / FOLDER).iterdir()} == before


def test_default_directory_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "azaion-engine" in PlanStore().directory.parts
    if sys.platform == "linux":
        assert PlanStore().directory == tmp_path / "azaion-engine"


@pytest.mark.parametrize(
    "change", [{"model_sha256": "cd" * 32}, {"precision": "fp32"}, {"batch_profile": (1, 8, 8)}], ids=str
)
def test_models_of_one_name_and_configurations_of_one_model_live_side_by_side(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    other = KEY.model_copy(update=change)
    get(tmp_path)
    get(tmp_path, other)
    assert {p.name for p in tmp_path.iterdir()} == {FOLDER, f"yolo-{other.folder_hash()}"}
    for key in (KEY, other):
        assert get(tmp_path, key, build=no_build)[1].action == "loaded"


@given(name=st.text(max_size=400))
def test_any_model_name_becomes_one_plain_folder_name(name: str) -> None:
    safe = engine_store._safe_name(name)
    assert Path(safe).name == safe
    assert safe.isascii()
    assert 1 <= len(safe) <= 80
    assert ".." not in safe
    assert not safe.startswith(".")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("yolo26n.v2", "yolo26n.v2"),
        ("../../etc/passwd", "etc_passwd"),
        ("a..b", "a_b"),
        ("C:\\models\\x", "C_models_x"),
        ("", "model"),
        ("..", "model"),
        ("азайон", "model"),
        ("nul\0byte", "nul_byte"),
    ],
)
def test_model_names_that_hurt_file_systems(name: str, safe: str) -> None:
    assert engine_store._safe_name(name) == safe


@pytest.mark.parametrize("filename", ["", ".", "..", "a/b", "a\\b", "/a", "a\0"])
def test_a_filename_that_is_a_path_is_refused(tmp_path: Path, filename: str) -> None:
    with pytest.raises(ValueError, match="plain file name"):
        PlanStore(tmp_path).get_or_build("yolo", filename, KEY, no_build, bytes)


# --- rebuilds -------------------------------------------------------------------------------------------------------


def spoil_truncate(plan: Path) -> None:
    plan.write_bytes(plan.read_bytes()[:1234])


def spoil_extend(plan: Path) -> None:
    plan.write_bytes(plan.read_bytes() + b"!")


def spoil_flip(plan: Path) -> None:
    data = bytearray(plan.read_bytes())
    data[len(data) // 2] ^= 1
    plan.write_bytes(data)


def spoil_schema(plan: Path) -> None:
    file = plan.with_name(f"{plan.name}.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema_version": 99, "new_field": 1}))


def spoil_manifest_is_a_folder(plan: Path) -> None:
    file = plan.with_name(f"{plan.name}.json")
    file.unlink()
    file.mkdir()


SPOILS: list[tuple[Callable[[Path], object], str]] = [
    (spoil_truncate, "plan truncated: 1234 bytes, expected 5000"),
    (spoil_extend, "plan too long: 5001 bytes, expected 5000"),
    (spoil_flip, "plan corrupt: its SHA-256 differs"),
    (spoil_schema, "schema 99 is newer"),
    (Path.unlink, "plan missing beside its manifest"),
    (lambda plan: plan.with_name(f"{plan.name}.json").unlink(), "manifest missing: nothing says what"),
    (lambda plan: plan.with_name(f"{plan.name}.json").write_bytes(b"\xff{"), "manifest unusable"),
    (lambda plan: plan.with_name(f"{plan.name}.json").write_bytes(b""), "manifest unusable"),
]


@pytest.mark.parametrize(("spoil", "reason"), SPOILS, ids=[reason for _, reason in SPOILS])
def test_what_does_not_fit_is_rebuilt_and_the_log_says_why(
    tmp_path: Path, log: pytest.LogCaptureFixture, spoil: Callable[[Path], object], reason: str
) -> None:
    get(tmp_path)
    spoil(tmp_path / FOLDER / FILENAME)
    engine, outcome = get(tmp_path)
    assert engine == plan_of(KEY)
    assert outcome.action == "built"
    assert reason in outcome.reason
    assert reason in warnings_of(log)
    assert FILENAME in warnings_of(log)
    assert get(tmp_path, build=no_build)[1].action == "loaded"
    assert names(tmp_path) == BOTH


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tensorrt_version": "8.6.0"}, "TensorRT version: built with 8.6.0, this is 10.13.0"),
        ({"gpu_name": "NVIDIA H200"}, "GPU: built with NVIDIA H200, this is NVIDIA H100 80GB HBM3"),
        ({"model_sha256": "cd" * 32}, "model: built with"),
        ({"precision": "fp32"}, "precision: built with fp32, this is fp16"),
    ],
)
def test_an_engine_of_another_key_is_replaced(
    tmp_path: Path, log: pytest.LogCaptureFixture, change: dict[str, Any], sentence: str
) -> None:
    # Changes the manifest itself: a renamed folder may hold the plan of another model or precision.
    get(tmp_path, build=lambda: b"the other")
    file = tmp_path / FOLDER / f"{FILENAME}.json"
    content = json.loads(file.read_text())
    content["key"].update(change)
    file.write_text(json.dumps(content))
    engine, outcome = get(tmp_path)
    assert (engine, outcome.action) == (plan_of(KEY), "built")
    assert sentence in outcome.reason
    assert sentence in warnings_of(log)


def test_a_stored_plan_that_tensorrt_refuses_is_rebuilt(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    get(tmp_path, build=lambda: b"refused later")

    def load(plan: bytes) -> bytes:
        if plan == b"refused later":
            raise PlanError("magic tag does not match")
        return plan

    engine, outcome = get(tmp_path, load=load)
    assert (engine, outcome.action) == (plan_of(KEY), "built")
    assert "refused by TensorRT: magic tag does not match" in warnings_of(log)


def test_a_fresh_plan_that_is_refused_raises_after_one_build_and_is_not_kept(tmp_path: Path) -> None:
    builds = []

    def load(plan: bytes) -> bytes:
        raise PlanError("no")

    with pytest.raises(PlanError, match="no"):
        get(tmp_path, build=lambda: builds.append(1) or b"bad", load=load)  # type: ignore[func-returns-value]
    assert builds == [1]
    assert names(tmp_path) == set()
    assert get(tmp_path)[1].action == "built"


@pytest.mark.parametrize("error", [EngineBuildError("parser said no"), KeyboardInterrupt(), MemoryError()])
def test_a_build_that_raises_leaves_nothing_and_frees_the_lock(tmp_path: Path, error: BaseException) -> None:
    def build() -> bytes:
        raise error

    with pytest.raises(type(error)):
        get(tmp_path, build=build)
    assert names(tmp_path) == set()
    with FileLock(tmp_path / FOLDER / f"{FILENAME}.lock", timeout=0):
        pass
    assert get(tmp_path)[1].action == "built"


def test_an_error_of_load_that_is_not_about_the_plan_propagates_and_spares_the_plan(tmp_path: Path) -> None:
    get(tmp_path)

    def load(plan: bytes) -> bytes:
        raise RuntimeError("out of GPU memory")

    with pytest.raises(RuntimeError, match="out of GPU memory"):
        get(tmp_path, build=no_build, load=load)
    assert get(tmp_path, build=no_build)[1].action == "loaded"


# --- disk errors ----------------------------------------------------------------------------------------------------


def refuse(monkeypatch: pytest.MonkeyPatch, function: str, number: int, nth: int) -> None:
    """Makes the n-th call of `os.<function>` fail with a disk's error."""
    real, calls = getattr(os, function), [0]

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == nth:
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    monkeypatch.setattr(os, function, failing)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize(("function", "nth"), [("fsync", 1), ("fsync", 2), ("replace", 1)])
def test_a_failing_write_serves_from_memory_and_spares_the_older_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture, function: str, nth: int, number: int
) -> None:
    get(tmp_path, OLD_KEY)
    with monkeypatch.context() as patch:
        refuse(patch, function, number, nth)
        engine, outcome = get(tmp_path)
    assert engine == plan_of(KEY)
    assert (outcome.action, outcome.path) == ("built", None)
    for words in (os.strerror(number), str(tmp_path / FOLDER / FILENAME), "lives in memory", "cache_dir"):
        assert words in warnings_of(log)
    assert names(tmp_path) == BOTH
    assert get(tmp_path, OLD_KEY, build=no_build)[0] == plan_of(OLD_KEY)


def test_a_failure_between_the_two_renames_is_noticed_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get(tmp_path, OLD_KEY)
    with monkeypatch.context() as patch:
        refuse(patch, "replace", errno.EIO, 2)
        assert get(tmp_path)[1].path is None
    assert names(tmp_path) == BOTH
    assert get(tmp_path, OLD_KEY)[0] == plan_of(OLD_KEY)


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "fsync", errno.EINVAL, 3)
    assert get(tmp_path)[1].path is not None


@pytest.mark.parametrize("below", [".", "deeper/still"])
def test_a_cache_below_a_regular_file_serves_from_memory(
    tmp_path: Path, log: pytest.LogCaptureFixture, below: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    for _ in range(2):
        engine, outcome = get(tmp_path / "file" / below)
        assert (engine, outcome.action, outcome.path) == (plan_of(KEY), "built", None)
    for words in (str(tmp_path / "file"), "Not a directory", "cache_dir", "without a lock"):
        assert words in warnings_of(log)


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "Permission denied"), NotImplementedError("no flock")])
def test_without_a_lock_the_engine_is_built_and_still_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture, error: Exception
) -> None:
    class NoLock:
        def __init__(self, path: object, **options: object) -> None:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(patient_lock, "FileLock", NoLock)
        assert get(tmp_path)[1].path is not None
    assert "cannot lock" in warnings_of(log)
    assert str(error) in warnings_of(log)
    assert get(tmp_path, build=no_build)[1].action == "loaded"


def test_a_file_system_without_flock_gives_no_lock_that_outlives_its_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        assert get(tmp_path)[1].path is not None
    assert "cannot lock" in warnings_of(log)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="chmod does not stop root")
def test_a_read_only_folder_loads_what_fits_and_serves_the_rest_from_memory(tmp_path: Path) -> None:
    get(tmp_path, OLD_KEY)
    (tmp_path / FOLDER).chmod(0o555)
    try:
        assert get(tmp_path, OLD_KEY, build=no_build)[1].action == "loaded"
        assert get(tmp_path)[0] == plan_of(KEY)
        assert get(tmp_path, OLD_KEY, build=no_build)[1].action == "loaded"
    finally:
        (tmp_path / FOLDER).chmod(0o755)


def test_a_manifest_that_cannot_be_read_or_replaced_serves_from_memory(
    tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    get(tmp_path)
    spoil_manifest_is_a_folder(tmp_path / FOLDER / FILENAME)
    assert get(tmp_path)[1].path is None
    assert "manifest unreadable" in warnings_of(log)
    assert names(tmp_path) == BOTH


# --- killed at any moment -------------------------------------------------------------------------------------------


def start_child(mode: str, directory: Path, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.azaion_engine.plans.test_store", mode, str(directory), json.dumps(options)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(child: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    result: dict[str, Any] = json.loads(out)
    return {**result, "log": err}


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for child in started:
        child.kill()
        child.communicate()


def wait_for(path: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not appear"
        time.sleep(0.01)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the sweep forks")
@pytest.mark.parametrize("before", ["empty", "old engine"])
def test_killed_before_any_line_of_the_store_the_next_start_is_right(
    tmp_path: Path, before: str, children: list[subprocess.Popen[str]]
) -> None:
    children.append(start_child("sweep", tmp_path, old=before != "empty"))
    result = finish(children[0])
    assert result["kills"] > 60
    # Kills happened at every stage: before the build, between the files, and after the last one.
    assert result["starts"]["built"] > 0
    assert result["starts"]["loaded"] > 0
    assert result["leftovers"] > 0


def test_killed_at_random_times_of_a_large_write_the_next_start_is_right(tmp_path: Path) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("the child forks")
    result = finish(start_child("random", tmp_path, kills=40, size=4_000_000))
    assert result["kills"] == 40


def test_a_kill_of_the_builder_hands_the_build_to_the_one_who_waits(
    tmp_path: Path, children: list[subprocess.Popen[str]]
) -> None:
    children.append(start_child("build", tmp_path, wait_for="never"))
    wait_for(tmp_path / "building")
    (tmp_path / "building").unlink()
    children.append(start_child("build", tmp_path, report_s=0.2))
    wait_for(tmp_path / f"waiting-{children[1].pid}")
    children[0].kill()
    result = finish(children[1])
    assert result["action"] == "built"
    assert f"process {children[0].pid}" in result["log"]
    assert names(tmp_path) == BOTH


def test_several_processes_build_once_and_the_others_wait_and_load(
    tmp_path: Path, children: list[subprocess.Popen[str]]
) -> None:
    # The build goes on once both others have reported twice that they wait.
    children += [start_child("build", tmp_path, wait_for="go", report_s=0.3) for _ in range(3)]
    deadline = time.monotonic() + 30
    while sum(len(file.read_text()) >= 2 for file in tmp_path.glob("waiting-*")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (tmp_path / "go").touch()
    results = [finish(child) for child in children]
    assert sorted(r["action"] for r in results) == ["built", "loaded", "loaded"]
    assert (tmp_path / "building").read_text() == "x"
    builder = next(child.pid for child, r in zip(children, results, strict=True) if r["action"] == "built")
    for result in results:
        if result["action"] == "loaded":
            assert "another process built it meanwhile" in result["reason"]
            assert f"built by process {builder} on " in result["log"]
            assert " s until now" in result["log"]


def test_threads_of_one_process_build_once(tmp_path: Path) -> None:
    actions: list[str] = []

    def build() -> bytes:
        time.sleep(0.2)
        return plan_of(KEY)

    threads = [threading.Thread(target=lambda: actions.append(get(tmp_path, build=build)[1].action)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(actions) == ["built", "loaded", "loaded", "loaded"]


def test_a_file_size_limit_cuts_a_real_write_and_the_engine_is_served_from_memory(
    tmp_path: Path, children: list[subprocess.Popen[str]]
) -> None:
    pytest.importorskip("resource")
    get(tmp_path, OLD_KEY)
    children.append(start_child("build", tmp_path, file_limit=3000))
    result = finish(children[0])
    assert (result["action"], result["path"]) == ("built", None)
    assert "File too large" in result["log"]
    assert names(tmp_path) == BOTH
    assert get(tmp_path, OLD_KEY, build=no_build)[0] == plan_of(OLD_KEY)


# --- the child process ----------------------------------------------------------------------------------------------


class NoteWaiting(logging.Handler):
    """Writes a byte to a file, for the parent process, each time this process reports that it waits."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("waiting for"):
            with (self.directory / f"waiting-{os.getpid()}").open("a") as file:
                file.write("x")


def child_build(directory: Path, options: dict[str, Any]) -> dict[str, Any]:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    logging.getLogger("azaion_engine").addHandler(NoteWaiting(directory))
    patient_lock.WAIT_REPORT_S = options.get("report_s", 10.0)
    if "file_limit" in options:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (options["file_limit"], options["file_limit"]))

    def build() -> bytes:
        with (directory / "building").open("a") as file:
            file.write("x")
        if "wait_for" in options:
            wait_for(directory / options["wait_for"], 60)
        return plan_of(KEY)

    engine, outcome = get(directory, build=build)
    assert engine == plan_of(KEY)
    return {"action": outcome.action, "reason": outcome.reason, "path": outcome.path and str(outcome.path)}


def forked(action: Callable[[], object]) -> tuple[int, Callable[[], bool]]:
    """Runs `action` in a fork; returns its pid, and a function that waits for it and tells whether it was killed."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
            os._exit(0)
        except BaseException:
            logging.exception("in the fork")
            os._exit(1)

    def was_killed() -> bool:
        status = os.waitpid(pid, 0)[1]
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status)

    return pid, was_killed


def start_again(directory: Path, size: int, tally: dict[str, Any]) -> None:
    """Starts after a kill: asserts a correct plan, no temporary files, and that the next start loads the plan."""
    tally["leftovers"] += any(name.endswith(".tmp") for name in names(directory))
    engine, outcome = get(directory, build=lambda: plan_of(KEY, size))
    assert engine == plan_of(KEY, size)
    assert names(directory) == BOTH
    assert get(directory, build=no_build)[0] == plan_of(KEY, size)
    tally["starts"][outcome.action] += 1
    tally["kills"] += 1


def child_sweep(directory: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Kills a build before the 1st, 2nd, 3rd… executed line of the store, until one build ends."""
    tally: dict[str, Any] = {"kills": 0, "leftovers": 0, "starts": {"built": 0, "loaded": 0}}
    # No fsync, which is slow: unlike a power cut, a kill loses no written data.
    os.fsync = lambda fd: None

    def run_until(line: int) -> None:
        left = line

        def trace(frame: FrameType, event: str, arg: object) -> Any:
            nonlocal left
            if frame.f_code.co_filename != engine_store.__file__:
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        get(directory)

    line = 0
    while True:
        line += 1
        shutil.rmtree(directory)
        directory.mkdir()
        if options["old"]:
            get(directory, OLD_KEY, build=lambda: plan_of(OLD_KEY))
        _, was_killed = forked(lambda line=line: run_until(line))  # type: ignore[misc]
        if not was_killed():
            return tally
        if options["old"] and line % 2:  # back to the older TensorRT
            engine, _ = get(directory, OLD_KEY, build=lambda: plan_of(OLD_KEY))
            assert engine == plan_of(OLD_KEY)
        start_again(directory, 5000, tally)


def child_random(directory: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Kills builds at random times; a build that ended before its kill is repeated with an empty folder."""
    tally: dict[str, Any] = {"kills": 0, "leftovers": 0, "starts": {"built": 0, "loaded": 0}}
    size = options["size"]
    started = time.monotonic()
    get(directory, build=lambda: plan_of(KEY, size))
    duration = time.monotonic() - started
    chance = random.Random(options["kills"])
    while tally["kills"] < options["kills"]:
        shutil.rmtree(directory)
        directory.mkdir()
        pid, was_killed = forked(lambda: get(directory, build=lambda: plan_of(KEY, size)))
        time.sleep(chance.random() * duration)
        os.kill(pid, signal.SIGKILL)
        if was_killed():
            start_again(directory, size, tally)
    return tally


if __name__ == "__main__":
    modes = {"build": child_build, "sweep": child_sweep, "random": child_random}
    print(json.dumps(modes[sys.argv[1]](Path(sys.argv[2]), json.loads(sys.argv[3]))))
