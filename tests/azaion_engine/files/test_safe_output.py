"""SafeOutput: nothing is replaced unasked, no input ever, and a file is whole or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from azaion_engine.errors import InvalidParameterError
from azaion_engine.files.safe_output import SafeOutput


@pytest.fixture
def there(tmp_path: Path) -> Path:
    path = tmp_path / "there.txt"
    path.write_text("old")
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    with SafeOutput().text(tmp_path / "a.txt") as file:
        file.write("half")
        file.flush()
        assert "a.txt" not in names(tmp_path)
        file.write(", whole")
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "half, whole"


def test_after_an_error_nothing_is_there_and_what_was_there_stays(there: Path, tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        with SafeOutput(overwrite=True).text(path) as file:
            file.write("half")
            raise RuntimeError

    for path in (there, tmp_path / "new.txt"):
        with pytest.raises(RuntimeError):
            fail(path)
    assert names(tmp_path) == ["there.txt"]
    assert there.read_text() == "old"


def test_an_existing_file_is_replaced_only_with_overwrite_and_keeps_its_mode(there: Path) -> None:
    there.chmod(0o640)
    with pytest.raises(InvalidParameterError, match="exists already"):
        SafeOutput().plan(there)
    with pytest.raises(InvalidParameterError, match="exists already"):
        SafeOutput().write(there, b"new")
    assert there.read_text() == "old"
    SafeOutput(overwrite=True).plan(there)
    SafeOutput(overwrite=True).write(there, b"new")
    assert there.read_text() == "new"
    assert there.stat().st_mode & 0o777 == 0o640


def test_a_file_that_came_to_be_during_the_run_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"

    def write_after_another() -> None:
        with SafeOutput().text(path) as file:
            file.write("ours")
            path.write_text("theirs")

    with pytest.raises(InvalidParameterError, match="exists by now"):
        write_after_another()
    assert path.read_text() == "theirs"
    assert names(tmp_path) == ["a.txt"]


def test_an_input_is_never_replaced_by_whatever_path(there: Path, tmp_path: Path) -> None:
    (tmp_path / "soft").symlink_to(there)
    os.link(there, tmp_path / "hard")
    for path in (there, tmp_path / "soft", tmp_path / "hard", tmp_path / "x" / ".." / "there.txt"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(InvalidParameterError, match="is an input"):
            SafeOutput([there], overwrite=True).plan(path)
        with pytest.raises(InvalidParameterError, match="is an input"):
            SafeOutput([there], overwrite=True).write(path, b"new")
    assert there.read_text() == "old"


def test_a_link_stays_a_link_and_its_file_is_replaced(there: Path, tmp_path: Path) -> None:
    (tmp_path / "soft").symlink_to(there)
    SafeOutput(overwrite=True).write(tmp_path / "soft", b"new")
    assert (tmp_path / "soft").is_symlink()
    assert there.read_text() == "new"


def test_two_outputs_are_not_one_file(tmp_path: Path) -> None:
    output = SafeOutput()
    output.plan(tmp_path / "a.jpg")
    with pytest.raises(InvalidParameterError, match="two outputs"):
        output.plan_in(tmp_path, ["a.jpg"])


def test_files_of_a_folder_are_checked_before_the_run_numbered_ones_by_their_start(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "deep"
    SafeOutput().plan_in(folder, ["a.txt"], [("clip", ".txt")])
    assert names(tmp_path) == []
    folder.mkdir(parents=True)
    (folder / "clip_000012.txt").write_text("label")
    (folder / "clip_of_mine.txt").write_text("label")
    SafeOutput().plan_in(folder, ["clip.txt"], [("clip", ".jpg")])
    with pytest.raises(InvalidParameterError, match="clip_000012"):
        SafeOutput().plan_in(folder, ["a.txt"], [("clip", ".txt")])


def test_folders_that_take_no_file_are_told_at_once(there: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        SafeOutput().plan(tmp_path / "no" / "a.txt")
    with pytest.raises(NotADirectoryError, match="is a file"):
        SafeOutput().plan(there / "a.txt")
    with pytest.raises(NotADirectoryError, match="is a file"):
        SafeOutput().plan_in(there / "deep", ["a.txt"])
    with pytest.raises(InvalidParameterError, match="is a folder"):
        SafeOutput(overwrite=True).plan(tmp_path)


def test_devices_are_written_and_not_replaced() -> None:
    SafeOutput().plan(Path("/dev/null"))
    with SafeOutput().text(Path("/dev/null")) as file:
        file.write("gone")
    assert Path("/dev/null").is_char_device()


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no memory that is a folder")
def test_files_in_shared_memory_are_no_devices() -> None:
    with TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder, "a.txt")
        with SafeOutput().text(path) as file:
            assert "a.txt" not in names(path.parent)
            file.write("whole")
        with pytest.raises(InvalidParameterError, match="inputs are never replaced"):
            SafeOutput([path], overwrite=True).write(path, b"other")
        assert path.read_text() == "whole"


def test_an_error_of_writing_names_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(OSError, match="No space left on device: '/dev/full'"),
        SafeOutput().text(Path("/dev/full")) as file,
    ):
        file.write("more than there is room for")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*out\.bin'"):
        SafeOutput().write(tmp_path / "out.bin", b"data")
    assert not list(tmp_path.iterdir())


def test_many_files_are_there_when_they_are_settled_and_an_error_of_one_is_raised(there: Path, tmp_path: Path) -> None:
    output = SafeOutput()
    for index in range(100):
        output.write_soon(tmp_path / f"{index % 3}" / f"{index}.txt", b"%d" % index)
    output.settle()
    for index in range(100):
        assert (tmp_path / f"{index % 3}" / f"{index}.txt").read_bytes() == b"%d" % index
    output.write_soon(there, b"new")
    with pytest.raises(InvalidParameterError, match="exists already"):
        output.settle()
    assert there.read_text() == "old"
