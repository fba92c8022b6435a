"""Streams: the newest frame of each wins, a lost connection comes back, and one that does not is given up."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from azaion_engine.errors import PictureError
from azaion_engine.files.sources import Item
from azaion_engine.files.streams import Streams, is_stream, shown_address
from tests.azaion_engine.files.camera import FRAMES, Camera
from tests.azaion_engine.files.video_files import write_frames


@pytest.fixture
def stream(tmp_path: Path) -> bytes:
    return write_frames(tmp_path / "a.ts", [100 * index for index in range(FRAMES)]).read_bytes()


@pytest.fixture
def camera(stream: bytes) -> Iterator[Camera]:
    with Camera(stream) as camera:
        yield camera


def test_the_newest_frame_wins_and_the_others_are_counted(camera: Camera) -> None:
    taken: list[Item] = []
    with Streams([camera.address], reconnects=0) as streams:
        for items in streams.newest(until=time.monotonic() + 20):
            taken += items
            time.sleep(0.15)
            if taken[-1].frame is not None and taken[-1].frame >= FRAMES - 5:
                break
        skipped = streams.skipped
    numbers = [item.frame for item in taken if item.frame is not None]
    assert numbers == sorted(set(numbers))
    assert skipped > 0
    assert len(numbers) + skipped <= numbers[-1] + 5
    pixels = taken[0].load()
    assert isinstance(pixels, np.ndarray)
    assert pixels.shape == (96, 160, 3)
    assert pixels[:, :70].mean(axis=(0, 1)) == pytest.approx((200, 0, 0), abs=12)
    clocks = [item.clock_s for item in taken]
    assert all(abs(time.time() - (clock or 0)) < 60 for clock in clocks)


def test_a_lost_connection_comes_back_and_frames_are_counted_on(camera: Camera) -> None:
    lost: list[tuple[str, str]] = []
    best = 0
    with Streams([camera.address], reconnects=1, lost=lambda *told: lost.append(told)) as streams:
        for items in streams.newest(until=time.monotonic() + 30):
            best = max(best, items[0].frame or 0)
            if best >= FRAMES + 5:
                break
    assert best >= FRAMES + 5, "frames of a second connection"
    assert camera.connections >= 2
    assert lost[0] == (camera.address, "the connection ended")


def test_a_stream_that_does_not_come_back_is_given_up_and_the_others_go_on(camera: Camera) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        gone = f"tcp://user:secret@127.0.0.1:{free.getsockname()[1]}"
    lost: list[str] = []
    errors: list[Item] = []
    good = 0
    with Streams([gone, camera.address], reconnects=1, lost=lambda address, _: lost.append(address)) as streams:
        for items in streams.newest(until=time.monotonic() + 30):
            errors += [item for item in items if isinstance(item.picture, PictureError)]
            good += sum(item.stream == 1 and item.frame is not None for item in items)
            if errors and good > 3:
                break
    [error] = errors
    assert error.stream == 0
    assert "secret" not in error.source
    with pytest.raises(PictureError, match="given up after 1 reconnects"):
        error.load()
    assert [address for address in lost if address == error.source] == [error.source]


def test_all_given_up_ends_the_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        gone = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with Streams([gone], reconnects=0) as streams:
        [[item]] = list(streams.newest())
    assert isinstance(item.picture, PictureError)


def test_a_camera_that_connects_and_sends_nothing_is_told_at_the_end() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        Streams([f"tcp://127.0.0.1:{mute.getsockname()[1]}"]) as streams,
    ):
        [[item]] = list(streams.newest(until=time.monotonic() + 0.5))
    with pytest.raises(PictureError, match="no frame came"):
        item.load()


def test_addresses_and_numbers_are_streams_and_files_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_stream("rtsp://127.0.0.1/a")
    assert is_stream("RTSPS://127.0.0.1/a")
    assert is_stream("0")
    (tmp_path / "0").write_bytes(b"x")
    assert not any(map(is_stream, ("0", "a.jpg", "-", "", "file:///etc/passwd", "concat:a", "http:/a", "x/rtsp://a")))


def test_messages_show_no_password() -> None:
    assert shown_address("rtsp://user:p%40ss@camera:554/ch1?token=1") == "rtsp://camera:554/ch1"
    assert shown_address("0") == "0"
    assert shown_address("rtsp://user:what?#@camera/ch1#a") == "rtsp://camera/ch1"
    assert shown_address("http://[::1") == "http://[::1"
