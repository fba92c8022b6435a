"""Packages that only some uses need: what is said where one is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from azaion_engine.errors import MissingDependencyError
from azaion_engine.extras import import_extra, import_if_installed


def test_a_missing_package_is_named_with_the_reason_and_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(MissingDependencyError, match=r"^maps cannot be loaded \(.*rasterio.*\): pip install it$"):
        import_extra("rasterio", "maps", "pip install it")
    assert import_if_installed("rasterio") is None


def test_a_missing_shared_library_is_a_missing_dependency(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_a_library.py").write_text("raise OSError('libcuda.so.1: no such file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependencyError, match=r"PyCUDA cannot be loaded \(libcuda\.so\.1: no such file\)"):
        import_extra("needs_a_library", "PyCUDA", "on a host with a GPU")


def test_what_is_installed_is_returned() -> None:
    import json.decoder

    assert import_extra("json.decoder", "JSON", "") is json.decoder
    assert import_if_installed("json.decoder") is json.decoder
