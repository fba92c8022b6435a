"""CONTRIBUTING.md: its paths, make targets and commits exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def paths() -> set[str]:
    """Returns what stands in code or in a link and looks like a path of this repository."""
    told = {*re.findall(r"`([^`\s]+)`", TEXT), *re.findall(r"\]\(([^)\s]+)\)", TEXT)}
    return {each for each in told if "/" in each or re.search(r"\.(md|py|toml|yaml|json)$", each)}


def test_every_path_exists() -> None:
    assert len(paths()) > 40
    assert [each for each in sorted(paths()) if not (ROOT / each).exists()] == []


def test_every_make_target_exists() -> None:
    targets = {word for words in re.findall(r"(?:`|\$ )make ((?:[a-z-]+ ?)+)", TEXT) for word in words.split()}
    defined = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert len(targets) > 10
    assert targets <= defined


def test_every_recipe_names_a_commit_of_this_history() -> None:
    whole = subprocess.run(["git", "rev-parse", "--is-shallow-repository"], cwd=ROOT, capture_output=True, text=True)
    greps = re.findall(r"git log --grep='(.*?)'", TEXT)
    assert len(greps) == TEXT.count("\n**A")
    if whole.stdout.strip() == "false":
        for words in greps:
            found = subprocess.run(
                ["git", "log", "-1", "--format=%h", f"--grep={words}"], cwd=ROOT, capture_output=True
            )
            assert found.stdout, words
