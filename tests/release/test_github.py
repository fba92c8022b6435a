"""GitHub's folder: the workflows run what this repository has, and the templates are forms that GitHub accepts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))
ELEMENTS = {"markdown", "input", "textarea", "dropdown", "checkboxes"}
"""Types of a form's elements: docs.github.com, "Syntax for GitHub's form schema"."""


def commands_of(name: str) -> list[str]:
    workflow: dict[str, Any] = yaml.safe_load((GITHUB / "workflows" / name).read_text())
    return [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]


def test_ci_calls_the_script_that_any_machine_runs() -> None:
    [command] = commands_of("ci.yml")
    assert command.split()[-1] == ".ci/run"
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_ci_runs_the_oldest_and_the_newest_python_of_the_package() -> None:
    workflow = yaml.safe_load((GITHUB / "workflows/ci.yml").read_text())
    told = re.findall(r"Programming Language :: Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert workflow["jobs"]["checks"]["strategy"]["matrix"]["python"] == [told[0], told[-1]]


def test_the_audit_is_a_make_target() -> None:
    [command] = commands_of("audit.yml")
    assert re.search(rf"^{command.removeprefix('make ')}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_a_form_has_what_github_asks_for(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    assert form["name"]
    assert form["description"]
    for element in form["body"]:
        assert element["type"] in ELEMENTS
        assert element["attributes"].get("value" if element["type"] == "markdown" else "label")
    ids = [element["id"] for element in form["body"] if element["type"] != "markdown"]
    assert len(ids) == len(set(ids)) > 0
