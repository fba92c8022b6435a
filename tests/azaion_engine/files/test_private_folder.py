"""private_folder: this user's alone, or refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from azaion_engine.errors import ConfigurationError
from azaion_engine.files.private_folder import private_folder


def test_it_is_made_once_and_for_this_user_alone(tmp_path: Path) -> None:
    folder = private_folder("haproxy", base=tmp_path)
    assert folder == private_folder("haproxy", base=tmp_path) == tmp_path / f"azaion-{os.getuid()}" / "haproxy"
    assert [each.stat().st_mode & 0o777 for each in (folder, folder.parent)] == [0o700, 0o700]


@pytest.mark.parametrize("inner", [False, True])
def test_one_that_others_may_enter_is_refused(tmp_path: Path, inner: bool) -> None:
    folder = private_folder("haproxy", base=tmp_path)
    (folder if inner else folder.parent).chmod(0o755)
    with pytest.raises(ConfigurationError, match="not a folder of this user alone"):
        private_folder("haproxy", base=tmp_path)


def test_a_link_or_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / f"azaion-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(ConfigurationError):
        private_folder(base=tmp_path)


def test_one_that_cannot_be_made_is_told_in_words() -> None:
    with pytest.raises(ConfigurationError, match=r"/proc/self/azaion-\d+ cannot be made: .*; set TMPDIR"):
        private_folder(base=Path("/proc/self"))
