"""Licences of dependencies: none with copyleft comes unnoticed, and the page names every requirement."""

from __future__ import annotations

import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.release.licences import EXTRAS, Package, everything, unjudged

PAGE = (Path(__file__).parents[2] / "THIRD_PARTY.md").read_text()


def test_every_licence_that_an_installation_brings_was_looked_at() -> None:
    assert unjudged(everything()) == []


@pytest.mark.parametrize("licence", ["AGPL-3.0-only", "GPL-2.0", "MIT AND LGPL-3.0-or-later", "", "Custom"])
def test_copyleft_and_unknown_licences_are_told(licence: str) -> None:
    assert unjudged({"": {"new": Package("new", licence)}}) == [f"new: {licence}".rstrip()]


@pytest.mark.parametrize("licence", ["MIT", "MPL-2.0 AND (Apache-2.0 OR MIT)", "proprietary (NVIDIA)"])
def test_permissive_licences_pass(licence: str) -> None:
    assert unjudged({"": {"new": Package("new", licence)}}) == []


def test_a_copyleft_library_in_a_permissive_wheel_is_told() -> None:
    package = Package("new", "BSD-3-Clause", ("libx264 GPL-2.0-or-later",))
    assert unjudged({"": {"new": package}}) == ["new: BSD-3-Clause libx264 GPL-2.0-or-later"]


def test_the_page_names_every_direct_requirement_in_its_section() -> None:
    sections = re.split(r"^## .*?(?:`pip install azaion-engine`|extra `([\w-]+)` adds)$", PAGE, flags=re.MULTILINE)
    tables = {extra or "": text for extra, text in zip(sections[1::2], sections[2::2], strict=True)}
    assert set(tables) == {"", *EXTRAS}
    for line in requires("azaion-engine") or ():
        requirement = Requirement(line)
        [extra] = re.findall(r'extra == "(.*?)"', str(requirement.marker or "")) or [""]
        if extra in tables:
            row = f"| {canonicalize_name(requirement.name)} |"
            assert row in tables[extra] or row in tables[""], (extra, row)
