"""read_frames: each frame's own time, turned upright, and a video that is not whole says so."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from azaion_engine.errors import PictureError, UndecodablePictureError
from azaion_engine.files.video_kind import HEAD_BYTES, is_video_head
from azaion_engine.files.videos import Frame, count_frames, read_frames
from tests.azaion_engine.files.video_files import cut, turn, write_frames, zero_middle

STEADY = [100 * index for index in range(40)]
VARYING = [0, 33, 66, 100, 1100, 2100, 3100, 4100, 4133, 4166]


def read(path: Path) -> tuple[list[Frame], str | None]:
    frames: list[Frame] = []
    try:
        for frame in read_frames(str(path)):
            frames.append(frame)
    except UndecodablePictureError as error:
        return frames, str(error)
    return frames, None


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("start_ms", [0, 2000])
def test_each_frame_has_its_own_time_whatever_the_rate_and_the_start(
    tmp_path: Path, suffix: str, start_ms: int
) -> None:
    path = write_frames(tmp_path / f"a{suffix}", [start_ms + time for time in VARYING])
    frames, fault = read(path)
    assert fault is None
    assert [frame.time_s for frame in frames] == [round((start_ms + time) / 1000, 3) for time in VARYING]
    assert [frame.index for frame in frames] == list(range(10))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
def test_a_whole_video_is_whole_and_every_nth_frame_is_read(tmp_path: Path, suffix: str) -> None:
    path = write_frames(tmp_path / f"a{suffix}", STEADY)
    frames, fault = read(path)
    assert (len(frames), fault) == (40, None)
    assert count_frames(str(path)) == 40
    assert np.diff([frame.time_s or 0.0 for frame in frames]) == pytest.approx(0.1, abs=1e-6)
    every = list(read_frames(str(path), 15))
    assert [frame.index for frame in every] == [0, 15, 30]
    assert [frame.time_s for frame in every] == [frames[index].time_s for index in (0, 15, 30)]


@pytest.mark.parametrize("share", [0.31, 0.52, 0.77])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
def test_a_video_that_is_cut_gives_its_frames_and_says_so(tmp_path: Path, suffix: str, share: float) -> None:
    frames, fault = read(cut(write_frames(tmp_path / f"a{suffix}", STEADY), share))
    assert fault is not None
    assert "breaks off" in fault
    assert 3 <= len(frames) < 40


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mp4", None), (".mkv", None), (".ts", None), (".avi", None), (".mkv", "libvpx"), (".avi", "mjpeg")],
)
def test_a_video_with_a_zeroed_middle_gives_the_frames_around_it_and_says_so(
    tmp_path: Path, suffix: str, codec: str | None
) -> None:
    frames, fault = read(zero_middle(write_frames(tmp_path / f"a{suffix}", STEADY, codec=codec), 0.15))
    assert fault is not None
    assert 20 <= len(frames) < 40


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_track_of_sound_changes_nothing(tmp_path: Path, suffix: str) -> None:
    path = write_frames(tmp_path / f"a{suffix}", STEADY[:20], sound=True)
    frames, fault = read(path)
    assert (len(frames), fault) == (20, None)
    frames, fault = read(zero_middle(path, 0.2))
    assert fault is not None
    assert 3 < len(frames) < 20


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
def test_bytes_after_the_end_are_no_fault(tmp_path: Path, suffix: str) -> None:
    path = write_frames(tmp_path / f"a{suffix}", STEADY[:20])
    path.write_bytes(path.read_bytes() + bytes(5000))
    frames, fault = read(path)
    assert (len(frames), fault) == (20, None)


def test_a_broadcast_recorded_from_its_middle_is_whole(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "a.ts", STEADY)
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 3 :])
    frames, fault = read(path)
    assert fault is None
    assert 20 < len(frames) < 30


def test_a_cut_between_two_frames_is_told_by_the_containers_own_size(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "a.mkv", STEADY)
    data = path.read_bytes()
    last = data.rindex(b"\x1f\x43\xb6\x75")  # a cluster begins: what is before it is whole
    path.write_bytes(data[:last])
    frames, fault = read(path)
    assert fault is not None
    assert f"{last} of its {len(data)} bytes" in fault
    assert frames


def test_a_video_without_any_frame_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(PictureError, match="cannot open"):
        next(read_frames(str(tmp_path / "a.mp4")))
    with pytest.raises(PictureError, match="No such file"):
        next(read_frames(str(tmp_path / "b.mp4")))


def test_a_turned_video_is_turned_upright_as_opencv_does(tmp_path: Path) -> None:
    path = turn(write_frames(tmp_path / "a.mp4", STEADY[:4]))
    frame = next(read_frames(str(path))).pixels
    assert frame.shape == (160, 96, 3)
    capture = cv2.VideoCapture(str(path))
    expected = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
    capture.release()
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected).mean() < 4


def test_a_playlist_that_names_another_file_is_no_video(tmp_path: Path) -> None:
    write_frames(tmp_path / "secret.ts", STEADY[:4])
    (tmp_path / "a.mp4").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/secret.ts\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(UndecodablePictureError, match="cannot open"):
        next(read_frames(str(tmp_path / "a.mp4")))


def test_names_that_are_not_utf_8_are_read(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/vid_\xe9.mp4")
    shutil.copy(write_frames(tmp_path / "a.mp4", STEADY[:3]), path)
    assert len(list(read_frames(path))) == 3
    assert count_frames(path) == 3


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi", ".mov"])
def test_videos_are_known_by_their_first_bytes(tmp_path: Path, suffix: str) -> None:
    assert is_video_head(write_frames(tmp_path / f"a{suffix}", STEADY[:12]).read_bytes()[:HEAD_BYTES])


def test_pictures_are_not_taken_for_videos() -> None:
    for head in (
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"\0\0\0\x20ftypavif",
        b"\0\0\0\x20ftypheic",
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"",
    ):
        assert not is_video_head(head)
