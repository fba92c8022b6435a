"""find_sources and pictures_of: files, folders, patterns, videos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from azaion_engine.errors import InvalidParameterError, PictureError
from azaion_engine.files.sources import Source, count_pictures, find_sources, pictures_of, told_apart


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "notes.txt", "deep/c.webp", "deep/clip.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def names(given: list[str], *, recursive: bool = False) -> list[str]:
    return [source.name for source in find_sources(given, recursive=recursive)]


def write_video(path: Path, frames: int = 6) -> Path:
    """Writes grey frames of rising brightness, 10 per second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(np.full((48, 64, 3), (40 * index, 0, 0), np.uint8))  # blue, as OpenCV orders colours
    writer.release()
    return path


def test_a_folder_gives_its_pictures_and_videos_in_order_and_those_below_only_when_asked(tree: Path) -> None:
    assert names([str(tree)]) == ["a.JPG", "b.png"]
    assert names([str(tree)], recursive=True) == ["a.JPG", "b.png", "deep/c.webp", "deep/clip.mp4"]


def test_patterns_and_files_are_taken_once_and_a_named_file_whatever_its_suffix(tree: Path) -> None:
    assert names([f"{tree}/*.png", f"{tree}/b.png", f"{tree}/notes.txt"]) == ["b.png", "notes.txt"]
    assert names([f"{tree}/**/c.*"]) == ["c.webp"]


def test_one_file_by_two_paths_is_taken_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert names(["b.png", f"{tree}/b.png", "deep/../b.png", "*.png"]) == ["b.png"]


def test_files_without_a_suffix_are_known_by_their_bytes_and_bytes_go_before_suffixes(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.avi").read_bytes()
    for name, data in (("video", video), ("video.jpg", video), ("notes", b"text"), ("gone.mp4", b"")):
        (tmp_path / name).write_bytes(data)
    picture = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    for name in ("picture", "picture.mp4"):
        (tmp_path / name).write_bytes(picture)
    kinds = {source.name: source.is_video for source in find_sources([str(tmp_path)], recursive=False)}
    assert kinds == {
        "clip.avi": True,
        "video": True,
        "video.jpg": True,
        "gone.mp4": True,
        "picture": False,
        "picture.mp4": False,
    }


def test_names_of_two_folders_are_told_apart_and_stay_short_where_they_may(tree: Path) -> None:
    assert names([f"{tree}/b.png", f"{tree}/deep"]) == ["b.png", "c.webp", "clip.mp4"]
    (tree / "deep" / "b.png").write_bytes(b"x")
    assert names([f"{tree}/b.png", f"{tree}/deep"]) == ["b.png", "deep/b.png", "deep/c.webp", "deep/clip.mp4"]


def test_failures_of_one_name_have_no_frames_that_would_need_names_of_their_own() -> None:
    failures = [Source(f"/{index}/a.jpg", "a.jpg", unreadable="gone") for index in range(3)]
    assert told_apart(failures) == failures


def test_frames_are_called_as_no_other_source_and_no_other_frame(tmp_path: Path) -> None:
    def frames(*others: str) -> list[str]:
        folder = tmp_path / str(len(others))
        folder.mkdir()
        for name in others:
            (folder / name).write_bytes(b"x")
        found = find_sources([str(folder)], recursive=False)
        return [source.frame_name(0) for source in found if source.is_video]

    assert frames("clip.mp4") == ["clip_000000.jpg"]
    assert frames("clip.mp4", "clip_000000.jpg") == ["clip.mp4_000000.jpg"]
    assert frames("clip.mp4", "clip_000000.png", "clip.mp4_0000001.jpg") == ["clip.mp4__000000.jpg"]
    assert frames("clip.avi", "clip.mp4", "clip.mp4.avi", "other.png") == [
        "clip.avi_000000.jpg",
        "clip.mp4__000000.jpg",
        "clip.mp4_000000.jpg",
    ]


def test_a_file_with_brackets_in_its_name_is_a_file_not_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "[1].jpg").write_bytes(b"x")
    assert names([f"{tmp_path}/[1].jpg"]) == ["[1].jpg"]


def test_nothing_there_is_wrong_usage(tmp_path: Path) -> None:
    for given in (str(tmp_path), f"{tmp_path}/*.jpg", f"{tmp_path}/a.jpg"):
        with pytest.raises(InvalidParameterError, match="no picture or video"):
            find_sources([given], recursive=True)


def test_a_video_gives_every_nth_frame_numbered_in_rgb(tmp_path: Path) -> None:
    [source] = find_sources([str(write_video(tmp_path / "clip.avi"))], recursive=False)
    items = list(pictures_of(source, every=2))
    assert [item.frame for item in items] == [0, 2, 4]
    assert [item.time_s for item in items] == [0.0, 0.2, 0.4]
    assert [item.name for item in items] == ["clip_000000.jpg", "clip_000002.jpg", "clip_000004.jpg"]
    assert count_pictures(source, every=2) == 3
    pixels = items[2].load()
    assert isinstance(pixels, np.ndarray)
    assert pixels.shape == (48, 64, 3)
    red, green, blue = pixels.reshape(-1, 3).mean(axis=0)
    assert blue > 140 > 20 > max(red, green)


def test_a_damaged_video_is_an_item_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    [source] = find_sources([str(tmp_path)], recursive=False)
    [item] = pictures_of(source, every=1)
    with pytest.raises(PictureError, match="cannot open"):
        item.load()
