"""Documentation's blocks: what no test runs is at least a command with options, files and keys that exist."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from azaion_cli.options import parse_assignments
from deployments.settings import ApplicationSettings
from tests.azaion_cli.conftest import Ran
from tests.docs.blocks import PAGES, ROOT, Block, blocks, commands

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

Cli = Callable[..., Ran]
SHELLS = ("console", "bash", "sh")


def shell_lines() -> list[tuple[str, str]]:
    """Returns place and text of every command line in a block, and of every command `azaion …` within a sentence."""
    lines = [(str(block), line) for block in blocks(*SHELLS) for line, _ in block.steps()]
    for page in PAGES:
        for code in re.findall(r"`(azaion [^`]+)`", (ROOT / page).read_text()):
            lines.append((str(page), code.replace("\n", " ").replace("|", " ")))
    return lines


@pytest.mark.parametrize("block", blocks(*SHELLS), ids=str)
def test_shell_can_read_it(block: Block) -> None:
    text = "\n".join(line for line, _ in block.steps())
    read = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert (read.returncode, read.stderr) == (0, "")


def test_every_command_has_options_that_exist(azaion: Cli) -> None:
    seen = set()
    for place, line in shell_lines():
        for program, *words in commands(line):
            if [program, *words[:2]] == ["python", "-m", "azaion_cli"]:
                program, words = "azaion", words[2:]
            if program != "azaion" or (given := tuple(word for word in words if word != "…")) in seen:
                continue
            seen.add(given)
            # The options are parsed before --help is obeyed, and their values are not.
            ran = azaion(*given, "--help")
            assert ran.code == 0, f"{place}: {line}: {ran.err}"
            assert "Usage: azaion" in ran.out, f"{place}: {line}"
            assignments = [words[at + 1] for at, word in enumerate(words) if word == "--set" and at + 1 < len(words)]
            for assignment in assignments:
                if "=" in assignment and assignment.upper() != assignment:
                    [key] = parse_assignments([assignment])
                    assert key in ApplicationSettings.model_fields, f"{place}: {assignment}"
    assert len(seen) > 50


def test_every_target_module_extra_and_file_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for place, line in shell_lines():
        for program, *words in commands(line):
            if program == "make":
                named = {word for word in words if re.fullmatch(r"[a-z-]+", word)}
                assert named <= targets, f"{place}: {line}"
            if program.startswith("python") and words[:1] == ["-m"] and words[1].split(".")[0] in PACKAGES:
                assert importlib.util.find_spec(words[1]), f"{place}: {line}"
            if program == "pip":
                asked = {name for word in words for name in re.findall(r"\[(.*?)\]", word) if word[0] in ".a"}
                assert {each for name in asked for each in name.split(",")} <= {*extras}, f"{place}: {line}"
            for word in (program, *words):
                if re.match(r"(configs|examples|deploy|azaion_engine|benchmarks)/[\w./-]+$", word):
                    assert (ROOT / word).exists(), f"{place}: {line}: {word}"


PACKAGES = {path.parent.name for path in ROOT.glob("*/__init__.py")}


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_configuration_is_accepted(block: Block) -> None:
    for read in [yaml.safe_load(block.text)]:
        if "scrape_configs" in read:
            continue  # Prometheus'
        if "applications" in read:
            ServeDeploySchema.model_validate(read)
        for application in read.get("applications", [{"args": read.get("args", read)}]):
            ApplicationSettings.model_validate(application["args"])


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_imports_what_exists(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            module: Any = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name), f"{node.module}.{name.name}"


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as git hosts and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page.parent / path).resolve() if path else ROOT / page
        assert target.exists(), link
        if page.parts[0] == "docs":  # MkDocs knows no file outside of docs/
            assert target.is_relative_to(ROOT / "docs"), link
        if anchor:
            assert anchor in anchors(target), link
