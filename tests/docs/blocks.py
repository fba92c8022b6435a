"""Blocks: the fenced code of the documentation's pages, and the commands in it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = sorted(
    path.relative_to(ROOT)
    for folder in (ROOT, ROOT / "examples", ROOT / "demo", ROOT / "benchmarks", ROOT / "docs")
    for path in (folder.rglob if folder.name == "docs" else folder.glob)("*.md")
    if path.name != "CHANGELOG.md"
)
"""Every page of documentation, relative to the repository."""

_BLOCK = re.compile(
    r"^(?:<!-- (?P<remark>[^\n]*?) -->\n)?(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
_ENDS = {"&&", "||", ";", "|", "&", "\n", ">", ">>", "<", "(", ")"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: Path relative to the repository.
        line: Line of the opening fence, from 1.
        language: Word behind the fence, empty without one.
        text: Lines between the fences.
        remark: Text of the HTML comment in the line before, which readers do not see; empty without one.
    """

    page: Path
    line: int
    language: str
    text: str
    remark: str

    @property
    def not_run(self) -> bool:
        """Whether the page says why no test runs the block."""
        return self.remark.startswith("not run")

    def steps(self) -> list[tuple[str, list[str]]]:
        """Returns each command of a shell's block and the lines of output that the page shows below it."""
        if self.language != "console":
            return [(line, []) for line in _joined(self.text.splitlines())]
        steps: list[tuple[str, list[str]]] = []
        for line in _joined(self.text.splitlines()):
            if line.startswith("$ "):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
        return steps

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def _joined(lines: list[str]) -> list[str]:
    """Joins the lines of a command that end in a backslash."""
    return re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()


def blocks(*languages: str, page: Path | None = None) -> list[Block]:
    """Returns the blocks of these languages, of every page or of one."""
    found = []
    for path in PAGES if page is None else [page]:
        text = (ROOT / path).read_text()
        for match in _BLOCK.finditer(text):
            line = text.count("\n", 0, match.start("indent")) + 1
            block = Block(path, line, match["language"], match["text"], match["remark"] or "")
            if block.language in languages:
                found.append(block)
    return found


def commands(line: str) -> list[list[str]]:
    """Splits a shell's line into the words of each simple command; drops redirections and comments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if word in _ENDS:
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]
