"""SharedEngine: its host is a real process, with a stand-in engine or ONNX Runtime."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from uuid import uuid4

import numpy as np
import psutil
import pytest
from filelock import FileLock

from azaion_engine.detector import Detector
from azaion_engine.engines.base import InferenceEngine
from azaion_engine.engines.shared import wire as engine_wire
from azaion_engine.engines.shared.client import SharedEngine
from azaion_engine.engines.shared.window import Window
from azaion_engine.errors import ConfigurationError, EngineClosedError, GpuLostError, InvalidTensorError, ModelError
from azaion_engine.model.file import ModelFile, sample_picture
from azaion_engine.opening.model import open_shared_engine
from azaion_engine.pictures.codec import encode_jpeg
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.prepared import JpegPicture, PictureForm, PreparedBatch
from azaion_engine.settings import DetectorSettings
from tests.azaion_engine import signatures
from tests.azaion_engine.heads.test_signatures import CASES
from tests.stand_in import (
    BATCH_SIZE,
    HELD,
    HOLDS,
    LOST,
    POISON,
    HoldingStandInEngine,
    TwoLaneStandInEngine,
    grey_picture,
)

Open = Callable[[], SharedEngine]


class JpegStandInEngine(TwoLaneStandInEngine):
    """Takes JPEGs, and answers each with its length."""

    def open_pictures(self) -> PictureForm:
        return PictureForm.JPEG

    def _run_loadable(self, pictures):  # type: ignore[no-untyped-def]
        return [np.full((300, 6), len(picture.jpeg) % 251, np.float32) for picture in pictures]


class Unopenable(InferenceEngine):
    """Cannot be opened."""

    def __new__(cls) -> Unopenable:
        raise ConfigurationError("engine: there is none")


def two_lanes(seconds: float = 0.05) -> InferenceEngine:
    return TwoLaneStandInEngine(batch_size=4, seconds=seconds)


@pytest.fixture
def key() -> str:
    return uuid4().hex


@pytest.fixture
def share(key: str) -> Iterator[Open]:
    opened: list[SharedEngine] = []

    def open_client() -> SharedEngine:
        opened.append(SharedEngine.open(lambda: two_lanes, key))
        return opened[-1]

    yield open_client
    for engine in opened:
        engine.close()


def classes(detector: Detector, *greys: int) -> list[int]:
    return [found.class_ids[0] for found in detector.detect([grey_picture(grey) for grey in greys])]


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ended(pid: int, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


def falls_ill(engine: SharedEngine, seconds: float = 10) -> bool:
    return becomes(engine, False, seconds)


def gets_ready(engine: SharedEngine, seconds: float = 20) -> bool:
    return becomes(engine, True, seconds)


def joins(neighbour: SharedEngine, engine: SharedEngine, seconds: float = 20) -> bool:
    """Waits until a client that did not see the loss has found it out, at its next check, and follows."""
    end = time.monotonic() + seconds
    while neighbour.host != engine.host and time.monotonic() < end:
        time.sleep(0.02)
    return neighbour.host == engine.host and gets_ready(neighbour)


def stays_well(engine: SharedEngine, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        engine.check_health()
        time.sleep(0.02)


def becomes(engine: SharedEngine, ready: bool, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            engine.check_ready()
            is_ready = True
        except GpuLostError:
            is_ready = False
        if is_ready == ready:
            return True
        time.sleep(0.02)
    return False


def test_every_client_gets_the_rows_of_its_own_pictures(share: Open) -> None:
    detectors = [Detector(share()) for _ in range(4)]
    greys = [[10 * client + picture for picture in range(9)] for client in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda client: classes(detectors[client], *greys[client]), range(4))) == greys


def test_clients_share_one_process_and_its_card(share: Open) -> None:
    first, second = share(), share()
    assert first.host == second.host != os.getpid()
    assert (first.get_input_shape(), first.get_batch_size(), first.lanes) == ((32, 32), 4, 3)
    assert first.open_pictures() is PictureForm.PIXELS


def test_pictures_of_several_clients_run_in_one_batch(share: Open) -> None:
    detectors = [Detector(share()) for _ in range(4)]

    def batch_size(detector: Detector) -> int:
        [found] = detector.detect(grey_picture(7), confidence=0.05)
        return int(found.class_ids[1]) - BATCH_SIZE

    with ThreadPoolExecutor(5) as pool:
        busy = pool.submit(batch_size, Detector(share()))
        time.sleep(0.02)
        sizes = list(pool.map(batch_size, detectors))
        busy.result()
    assert max(sizes) > 1


def test_a_picture_that_the_engine_chokes_on_costs_other_clients_nothing(share: Open) -> None:
    good, bad = Detector(share()), Detector(share())
    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            fine = pool.submit(classes, good, 1, 2, 3)
            poisoned = pool.submit(classes, bad, POISON)
            assert fine.result() == [1, 2, 3]
            with pytest.raises(RuntimeError, match="poisoned"):
                poisoned.result()


def test_a_jpeg_arrives_as_it_was_sent(key: str) -> None:
    with SharedEngine.open(lambda: JpegStandInEngine, key) as engine:
        sizes = [100, 20_000, 445_000, 3_000_000]
        box = Letterbox.fit(32, 32, 32, 32)
        rows = engine.run_pictures(PreparedBatch([JpegPicture(box, os.urandom(size)) for size in sizes]))
        assert [row[0, 0] for row in rows] == [size % 251 for size in sizes]  # type: ignore[index]


def mosaic(first: int, rows: int = 3, columns: int = 4) -> bytes:
    """Encodes squares of the network's size, each of its own grey value: first, first + 1, …"""
    values = first + np.arange(rows * columns, dtype=np.uint8).reshape(rows, columns)
    return encode_jpeg(np.stack([values.repeat(32, axis=0).repeat(32, axis=1)] * 3, axis=2), quality=100)


def holding() -> InferenceEngine:
    return HoldingStandInEngine(batch_size=4)


def held_now(engine: SharedEngine) -> tuple[int, int]:
    """Returns how many pictures the host has held so far, and how many it holds now."""
    [found] = Detector(engine).detect(grey_picture(7), confidence=0.05)
    classes = found.class_ids.tolist()
    return classes[1] - HOLDS, classes[2] - HELD


def comes(condition: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_a_picture_in_tiles_travels_once_and_is_freed_after_them(key: str) -> None:
    tiles = {"size": 32, "overlap": 0, "full_picture": False}
    clients = [SharedEngine.open(lambda: holding, key) for _ in range(2)]
    given = [[mosaic(10 + 20 * (2 * at + i)) for i in range(2)] for at in range(2)]
    sent: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        pack, take = engine_wire.pack, Window.take

        def packed(message: object, window: Window | None = None) -> list[memoryview]:
            parts = pack(message, window)
            sent.append(b"".join(parts))
            return parts

        def taken(window: Window, buffers: list[memoryview]) -> bool:
            sent.append(b"".join(buffers) if take(window, buffers) else b"")
            return bool(sent[-1])

        patch.setattr(engine_wire, "pack", packed)
        patch.setattr(Window, "take", taken)
        found = list(pool.map(lambda at: Detector(clients[at]).detect(given[at], tiles=tiles), range(2)))
    for at, pictures in enumerate(found):
        for i, one in enumerate(pictures):
            greys = sorted(one.class_ids[one.confidences > 0.5].tolist())
            assert np.abs(np.array(greys) - (10 + 20 * (2 * at + i) + np.arange(12))).max() <= 1
    for data in (data for pictures in given for data in pictures):
        assert sum(data in message for message in sent) == 1
    assert held_now(clients[0]) == (4, 0)
    for client in clients:
        client.close()


def test_what_a_client_holds_is_freed_when_it_dies_or_closes(key: str) -> None:
    box = Letterbox.fit(128, 96, 32, 32)
    with SharedEngine.open(lambda: holding, key) as engine:
        code = f"""if True:
            import time
            from azaion_engine.engines.shared.client import SharedEngine
            from azaion_engine.pictures.letterbox import Letterbox
            from azaion_engine.pictures.prepared import JpegPicture
            from tests.azaion_engine.engines.shared.test_client import holding, mosaic
            engine = SharedEngine.open(lambda: holding, {key!r})
            held = [engine.hold(JpegPicture(Letterbox.fit(128, 96, 32, 32), mosaic(10))) for _ in range(2)]
            print(len(held), flush=True)
            time.sleep(60)"""
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline().strip() == "2"
            mine = engine.hold(JpegPicture(box, mosaic(20)))
            assert mine is not None
            assert held_now(engine) == (3, 3)
            other.kill()
            other.wait()
        assert comes(lambda: held_now(engine) == (3, 1))
        mine.release()
        mine.release()
        assert held_now(engine) == (3, 0)
        second = SharedEngine.open(lambda: holding, key)
        left = second.hold(JpegPicture(box, mosaic(20)))
        assert left is not None
        second.close()
        assert comes(lambda: held_now(engine) == (4, 0))
        left.release()


def test_engines_that_take_no_jpegs_are_sent_none_to_hold(share: Open) -> None:
    assert share().hold(JpegPicture(Letterbox.fit(128, 96, 32, 32), mosaic(10))) is None


def test_arrays_take_the_same_way(share: Open) -> None:
    engine = share()
    grey = np.full((6, 3, 32, 32), 40 / 255, np.float32)
    [rows] = engine.run(grey)
    assert rows.shape == (6, 300, 6)
    assert set(rows[:, 0, 5]) == {40}
    with pytest.raises(InvalidTensorError, match="wrong size"):
        engine.run(grey[:, :, :16])


def test_what_the_opener_raises_is_raised_here(key: str) -> None:
    with pytest.raises(ConfigurationError, match="there is none"):
        SharedEngine.open(lambda: Unopenable, key)


def test_a_host_with_nothing_to_open_after_all_ends_without_a_word(
    key: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENGINE_HOST_OF", key)

    def fail() -> Callable[[], InferenceEngine]:
        raise ModelError("no detector")

    with pytest.raises(ModelError, match="no detector"):
        SharedEngine.open(fail, key)
    deadline = time.monotonic() + 20
    while hosts_of(key) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not hosts_of(key)
    assert "Traceback" not in capfd.readouterr().err


def hosts_of(key: str) -> list[int]:
    """Returns the processes that were started for a key."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if "engine_host_main" in " ".join(process.cmdline()) and process.environ().get("ENGINE_HOST_OF") == key:
                found.append(process.pid)
    return found


def test_the_host_ends_with_its_last_client(share: Open) -> None:
    first, second = share(), share()
    host = first.host
    first.close()
    first.close()
    with pytest.raises(EngineClosedError):
        first.check_health()
    assert classes(Detector(second), 5) == [5]
    second.close()
    assert ended(host)


def test_the_host_outlives_the_process_that_started_it(share: Open, key: str) -> None:
    code = f"""if True:
        import time
        from azaion_engine.engines.shared.client import SharedEngine
        from tests.azaion_engine.engines.shared.test_client import two_lanes
        engine = SharedEngine.open(lambda: two_lanes, {key!r})
        print(engine.name, flush=True)
        time.sleep(60)"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        name = starter.stdout.readline().strip()
        engine = share()
        starter.kill()
        starter.wait()
    assert engine.name == name
    assert classes(Detector(engine), 5) == [5]


def test_a_host_that_dies_costs_its_calls_and_one_client_starts_another_for_all(share: Open) -> None:
    engine, neighbour = share(), share()
    host = engine.host
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(classes, Detector(engine), 7)
        time.sleep(0.02)
        os.kill(host, signal.SIGKILL)
        with pytest.raises(GpuLostError, match="gone"):
            running.result()
    with pytest.raises(GpuLostError, match="gone"):
        engine.check_ready()
    engine.check_health()  # nobody need replace this client
    assert gets_ready(engine)
    assert joins(neighbour, engine)
    assert engine.host != host
    assert classes(Detector(engine), 5) == classes(Detector(neighbour), 5) == [5]


def test_a_lost_gpu_is_told_to_all_and_another_host_takes_over(share: Open) -> None:
    engine, neighbour = share(), share()
    host = engine.host
    with pytest.raises(GpuLostError):
        classes(Detector(engine), LOST)
    assert gets_ready(engine)
    assert joins(neighbour, engine)
    assert engine.host != host
    assert classes(Detector(neighbour), 5) == [5]
    assert ended(host)


def test_hosts_may_be_lost_again_and_again_under_load(share: Open) -> None:
    engines = [share() for _ in range(3)]
    over, hosts = threading.Event(), {engines[0].host}

    def ask(engine: SharedEngine, grey: int) -> tuple[int, int]:
        right = lost = 0
        while not over.is_set():
            try:
                assert classes(Detector(engine), grey, grey + 1) == [grey, grey + 1]
                right += 1
            except GpuLostError:
                lost += 1
                time.sleep(0.01)
        return right, lost

    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask, engine, 10 * at) for at, engine in enumerate(engines)]
        try:
            for _ in range(3):
                time.sleep(0.2)
                os.kill(engines[0].host, signal.SIGKILL)
                assert falls_ill(engines[0])
                assert all(gets_ready(engine) for engine in engines)
                hosts.add(engines[0].host)
            time.sleep(0.2)
        finally:
            over.set()
        counts = [one.result() for one in asked]
    assert len(hosts) == 4
    assert all(right and lost for right, lost in counts)


def test_a_host_that_cannot_be_started_again_is_lost_for_good(
    key: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("azaion_engine.engines.shared.client.PAUSE_S", 0.01)
    engine = SharedEngine.open(lambda: two_lanes, key, make_again=lambda: Unopenable)
    try:
        os.kill(engine.host, signal.SIGKILL)
        assert falls_ill(engine)
        with pytest.raises(GpuLostError, match="engine: there is none"):
            stays_well(engine)
        with pytest.raises(GpuLostError, match="engine: there is none"):
            classes(Detector(engine), 5)
    finally:
        engine.close()


def test_another_engine_in_the_next_host_is_not_taken_for_this_one(key: str) -> None:
    engine = SharedEngine.open(lambda: two_lanes, key, make_again=lambda: partial(TwoLaneStandInEngine, batch_size=2))
    try:
        os.kill(engine.host, signal.SIGKILL)
        assert falls_ill(engine)
        with pytest.raises(GpuLostError, match="other properties"):
            stays_well(engine)
    finally:
        engine.close()


def test_who_waits_for_an_engine_that_another_process_starts_says_so(
    share: Open, key: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("azaion_engine.system.patient_lock.WAIT_REPORT_S", 0.05)
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    Path(tempfile.gettempdir(), f"azaion-{os.getuid()}").mkdir(mode=0o700, exist_ok=True)
    lock = FileLock(Path(tempfile.gettempdir(), f"azaion-{os.getuid()}", f"{name}.lock"))
    with caplog.at_level("INFO", "azaion_engine"), ThreadPoolExecutor(1) as pool:
        with lock:
            opening = pool.submit(share)
            time.sleep(0.5)
        assert opening.result().get_batch_size() == 4
    assert "waiting for another process" in caplog.text


def test_a_folder_that_others_may_enter_is_refused(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    folder = tmp_path / f"azaion-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigurationError, match="this user alone"):
        SharedEngine.open(lambda: partial(two_lanes, 0.01), key)


@pytest.mark.parametrize("engine", ["onnx", pytest.param("tensorrt", marks=pytest.mark.gpu)])
def test_a_detector_with_a_shared_engine_finds_what_one_of_its_own_finds(engine: str, tmp_path: Path) -> None:
    settings = DetectorSettings(
        engine=engine, height=320, width=320, threads=1, cache_dir=tmp_path, optimization_level=0, batch_size=4
    )
    with Detector.open(settings) as own, Detector.open(settings, shared=True) as shared:
        assert isinstance(shared.engine, SharedEngine)
        assert shared.engine.name == own.engine.name
        pictures = [sample_picture()] * 6
        for expected, found in zip(own.detect(pictures), shared.detect(pictures), strict=True):
            assert len(expected.boxes) > 3
            np.testing.assert_array_equal(found.boxes, expected.boxes)
        other = settings.model_copy(update={"confidence": 0.5})
        with Detector.open(other, shared=True) as joined:
            assert isinstance(joined.engine, SharedEngine)
            assert joined.engine.host == shared.engine.host


def test_another_size_is_another_engine() -> None:
    model = ModelFile.read("demo")
    settings = DetectorSettings(engine="onnx", height=320, width=320, threads=1)
    wider = settings.model_copy(update={"width": 352})
    with open_shared_engine(model, settings) as engine, open_shared_engine(model, wider) as other:
        assert (engine.get_input_shape(), other.get_input_shape()) == ((320, 320), (320, 352))
        assert engine.host != other.host


def test_a_raw_head_makes_its_rows_in_the_host(tmp_path: Path) -> None:
    path = tmp_path / "raw.onnx"
    path.write_bytes(CASES["raw YOLO"].make())
    with Detector.open(model=str(path), engine="onnx", threads=1, shared=True) as shared:
        assert isinstance(shared.engine, SharedEngine)
        assert shared.engine.choice.head.name == "yolo"
        [found] = shared.detect([signatures.picture()])
        [more] = shared.detect([signatures.picture()], iou=0.99)
        np.testing.assert_allclose(found.boxes, 2 * signatures.BOXES, atol=1e-3)
        assert (len(found), len(more)) == (2, 3)
        assert shared.engine.output_names == ("output0",)


def test_a_model_that_needs_a_key_is_refused_by_its_host_in_the_same_words(tmp_path: Path) -> None:
    path = tmp_path / "rows.onnx"
    path.write_bytes(CASES["rows without"].make())
    with pytest.raises(ModelError, match="`input`"):
        Detector.open(model=str(path), engine="onnx", threads=1, shared=True)
