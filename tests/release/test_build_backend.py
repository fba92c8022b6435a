"""Build backend: a checkout generates the protocol's messages, a source distribution has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import build_backend

HOOKS = [
    build_backend.get_requires_for_build_wheel,
    build_backend.get_requires_for_build_sdist,
    build_backend.get_requires_for_build_editable,
]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one module, in the current folder, with this project's generated files."""
    (tmp_path / build_backend.PACKAGE).mkdir(parents=True)
    for name in build_backend.GENERATED:
        (tmp_path / build_backend.PACKAGE / name).write_text("generated before")
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "one"\nversion = "1"\n[tool.setuptools]\npackages = []\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.__name__)
def test_only_a_checkout_asks_for_the_generator(tree: Path, hook: Callable[[], list[str]]) -> None:
    assert set(build_backend.GENERATOR) <= set(hook())
    (tree / "PKG-INFO").touch()
    assert not set(build_backend.GENERATOR) & set(hook())
    (
        tree / build_backend.PACKAGE / build_backend.GENERATED[0]
    ).unlink()  # sources of somebody else, without the messages
    assert set(build_backend.GENERATOR) <= set(hook())


def test_a_source_distribution_keeps_the_messages_that_it_has(tree: Path) -> None:
    (tree / "PKG-INFO").touch()
    build_backend.generate(tree)
    for name in build_backend.GENERATED:
        assert (tree / build_backend.PACKAGE / name).read_text() == "generated before"
