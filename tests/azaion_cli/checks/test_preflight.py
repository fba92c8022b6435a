"""Preflight: folders and ports that cannot be used are refused by name."""

from __future__ import annotations

import errno
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from azaion_cli.checks.preflight import http_address, refuse_taken_ports, refuse_unusable_folders
from azaion_engine.errors import ConfigurationError
from tests.running_serve import free_port


def config_of(tmp_path: Path, **blocks: Any) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(blocks))
    return str(path)


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_a_folder_for_temporary_files_that_takes_nothing_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"temporary files, /proc/self, cannot be written to: .*; set TMPDIR"):
        refuse_unusable_folders({name: "/proc/self"})


def test_a_full_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**options: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    with pytest.raises(ConfigurationError, match=f"{tmp_path}, cannot be written to: No space left on device"):
        refuse_unusable_folders({"TMPDIR": str(tmp_path)})


def test_a_home_that_cannot_take_rays_token_is_named_where_ray_needs_one(tmp_path: Path) -> None:
    fixed = {"TMPDIR": str(tmp_path), "HOME": "/proc/self"}
    with pytest.raises(ConfigurationError, match=r"token, /proc/self/\.ray, cannot be written to: .*RAY_AUTH_TOKEN"):
        refuse_unusable_folders(fixed)
    for told in ({"RAY_AUTH_TOKEN": "x"}, {"RAY_AUTH_TOKEN_PATH": "x"}, {"RAY_AUTH_MODE": "disabled"}):
        refuse_unusable_folders({**fixed, **told})
    (tmp_path / ".ray").mkdir()
    refuse_unusable_folders({**fixed, "HOME": str(tmp_path)})
    assert [*(tmp_path / ".ray").iterdir()] == [], "the probe is gone"


def test_only_ports_on_which_somebody_listens_are_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        http, grpc = {"host": "127.0.0.1", "port": number}, {"port": number, "grpc_servicer_functions": ["a.b"]}
        free = {"host": "127.0.0.1", "port": free_port()}
        refuse_taken_ports(config_of(tmp_path, http_options=free, grpc_options={**grpc, "grpc_servicer_functions": []}))
        for blocks in ({"http_options": http}, {"http_options": free, "grpc_options": grpc}):
            with pytest.raises(ConfigurationError, match=f"port {number} on .* is taken"):
                refuse_taken_ports(config_of(tmp_path, **blocks))
    refuse_taken_ports(config_of(tmp_path, http_options=http))


def test_an_address_that_is_not_this_machines_is_refused(tmp_path: Path) -> None:
    elsewhere = "203.0.113.7"  # of documentation alone (RFC 5737)
    with pytest.raises(ConfigurationError, match=f"nothing can listen on port 8123 of {elsewhere}: .* this machine"):
        refuse_taken_ports(config_of(tmp_path, http_options={"host": elsewhere, "port": 8123}))


@pytest.mark.parametrize("text", ["{", "[]", "http_options: 3", "http_options: {port: x}", ""])
def test_what_is_wrong_in_a_file_is_for_serve_to_tell(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert http_address(str(path)) == ("0.0.0.0", 8000)
