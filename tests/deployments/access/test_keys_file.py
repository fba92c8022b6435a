"""The file of keys: found by their text, read again when it changes, never worse than its last good content."""

from __future__ import annotations

import os
import stat
import threading
import time
from pathlib import Path

import pytest

from azaion_engine.errors import ConfigurationError
from deployments.access.keys import digest, new_secret
from deployments.access.keys_file import KeysFile, edit_keys, read_keys
from tests.deployments.access.keys_made import add_key, change_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_is_found_by_its_text_which_is_not_in_the_file(path):
    secret, other = add_key(path, "lab"), add_key(path, "other")
    keys = KeysFile(path)
    assert [keys.find(each).name for each in (secret, other)] == ["lab", "other"]
    assert [keys.find(each) for each in ("", "x", secret[:-1], digest(secret), new_secret())] == [None] * 5
    assert secret not in path.read_text()
    assert digest(secret) in path.read_text()


def test_every_key_is_256_bits_of_its_own():
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert {len(secret) for secret in secrets} == {4 + 43}  # base64 of 32 bytes without its padding


def test_a_change_is_in_force_after_the_next_look(path):
    secret = add_key(path)
    keys = KeysFile(path)
    change_key(path, "lab", enabled=False)
    later = add_key(path, "later")
    keys.refresh()
    assert not keys.find(secret).enabled
    assert keys.find(later) is not None
    with edit_keys(path) as listed:
        del listed[0]
    keys.refresh()
    assert keys.find(secret) is None


def test_a_watched_file_is_read_again_within_seconds(path, monkeypatch):
    monkeypatch.setattr("deployments.access.keys_file.REFRESH_S", 0.01)
    add_key(path)
    keys = KeysFile(path)
    keys.watch()
    try:
        later = add_key(path, "later")
        deadline = time.monotonic() + 30
        while keys.find(later) is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        keys.close()


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b'{"keys": [{}]}', b'{"keys": [], "more": 1}', b"\xff" * 10, b"[]"]
)
def test_a_file_that_breaks_leaves_the_last_good_keys_in_force(path, content, caplog):
    secret = add_key(path)
    keys = KeysFile(path)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with caplog.at_level("ERROR", logger="ray.serve"):
        for _ in range(3):
            keys.refresh()
    assert keys.find(secret) is not None
    assert keys.find("another") is None
    mended = add_key(path.with_name("mended"), "mended")
    os.replace(path.with_name("mended"), path)
    keys.refresh()
    assert keys.find(secret) is None
    assert keys.find(mended).name == "mended"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        (b"{", "malformed"),
        (b'{"version": 2, "keys": []}', "version"),
        (b'{"keys": [{"name": "a b"}]}', "keys.0.name"),
    ],
)
def test_a_bad_file_at_the_start_is_refused_by_name(path, content, words):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=words) as caught:
        KeysFile(path)
    assert str(path) in str(caught.value)


def test_two_keys_of_one_name_are_refused(path):
    add_key(path)
    with pytest.raises(ValueError, match="two keys have the name 'lab'"):
        add_key(path)
    assert len(read_keys(path)) == 1


def test_only_the_owner_reads_a_new_file_and_a_changed_one_keeps_its_mode(path):
    add_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    add_key(path, "other")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_stays_a_link(path):
    target = path.with_name("target.json")
    add_key(target)
    path.symlink_to(target)
    add_key(path, "other")
    assert path.is_symlink()
    assert [key.name for key in read_keys(target)] == ["lab", "other"]


def test_changes_at_the_same_time_are_all_kept(path):
    threads = [threading.Thread(target=add_key, args=(path, f"key-{number}")) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.name for key in KeysFile(path).listed()} == {f"key-{number}" for number in range(12)}


def test_a_block_that_fails_changes_nothing(path):
    add_key(path)
    before = path.read_bytes()

    def fail() -> None:
        with edit_keys(path) as keys:
            keys.clear()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir() if entry.name != ".keys.json.lock"] == ["keys.json"]
