"""Dockerfile: its stages and instructions, and the files that `.dockerignore` leaves in the context; strict."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

KNOWN = (
    "ARG", "FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD",
)  # fmt: skip


@dataclass
class Instruction:
    """One instruction.

    Attributes:
        word: Its first word.
        text: The rest, on one line.
        line: Number of its first line.
    """

    word: str
    text: str
    line: int

    def flags(self) -> tuple[dict[str, str], str]:
        """Returns the `--name=value` at its start, and what follows."""
        flags, text = {}, self.text
        while match := re.match(r"--([a-z-]+)=(\S+)\s+", text):
            flags[match[1]], text = match[2], text[match.end() :]
        return flags, text


@dataclass
class Stage:
    """One stage.

    Attributes:
        base: Image, or the name of an earlier stage.
        name: Its name.
        instructions: In their order.
    """

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def last(self, word: str) -> Instruction | None:
        """Returns the last instruction with this word."""
        return next((each for each in reversed(self.instructions) if each.word == word), None)


@dataclass
class Dockerfile:
    """A Dockerfile.

    Attributes:
        stages: By name, in their order.
        args: Defaults of the ARGs before the first FROM.
    """

    stages: dict[str, Stage]
    args: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Dockerfile:
        """Reads a Dockerfile.

        Raises:
            ValueError: It has an instruction that is not known here, or a stage without a name.
        """
        stages: dict[str, Stage] = {}
        args: dict[str, str] = {}
        stage: Stage | None = None
        for instruction in _instructions(path.read_text()):
            if instruction.word not in KNOWN:
                raise ValueError(f"{path}:{instruction.line}: {instruction.word} is not known here")
            if instruction.word == "FROM":
                match = re.fullmatch(r"(\S+) AS (\S+)", instruction.text)
                if match is None:
                    raise ValueError(f"{path}:{instruction.line}: expected FROM image AS name")
                stage = stages[match[2]] = Stage(substitute(match[1], args), match[2])
            elif stage is None:
                args |= _assignments(instruction)
            else:
                stage.instructions.append(instruction)
        return cls(stages, args)

    def line_of(self, target: str) -> list[Stage]:
        """Returns a stage after those that it is based on, the first of which is based on an image."""
        line = [self.stages[target]]
        while line[0].base in self.stages:
            line.insert(0, self.stages[line[0].base])
        return line


def _instructions(text: str) -> list[Instruction]:
    found, gathered, begun = [], "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or (not line.strip() and not gathered):
            continue
        begun = begun if gathered else number
        gathered += line.rstrip().removesuffix("\\") + " "
        if not line.rstrip().endswith("\\"):
            word, _, rest = gathered.strip().partition(" ")
            found.append(Instruction(word, " ".join(rest.split()), begun))
            gathered = ""
    return found


def _assignments(instruction: Instruction) -> dict[str, str]:
    pairs = (word.partition("=") for word in shlex.split(instruction.text))
    return {name: value for name, _, value in pairs}


def assignments(instruction: Instruction, known: Mapping[str, str]) -> dict[str, str]:
    """Returns the names and values of an ENV or ARG; `known` are the variables that its values may use."""
    return {name: substitute(value, known) for name, value in _assignments(instruction).items()}


def substitute(text: str, known: Mapping[str, str]) -> str:
    """Replaces `${NAME}` and `$NAME`; an unknown name is an error, not an empty text."""
    return re.sub(r"\$\{(\w+)\}|\$(\w+)", lambda match: known[match[1] or match[2]], text)


def exec_form(instruction: Instruction) -> list[str]:
    """Returns the words of a CMD, an ENTRYPOINT, or the CMD of a HEALTHCHECK, each in its JSON form."""
    words: list[str] = json.loads(instruction.text[instruction.text.index("[") :])
    return words


def context_files(root: Path) -> list[Path]:
    """Returns the files of a repository that `.dockerignore` leaves in the build's context, relative to it.

    Tracked files and untracked ones that git does not ignore. The last pattern that matches a file decides.
    """
    patterns = [
        line for line in (root / ".dockerignore").read_text().splitlines() if line.strip() and not line.startswith("#")
    ]
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return [Path(name) for name in listed.splitlines() if (root / name).is_file() and not _left_out(name, patterns)]


def _left_out(name: str, patterns: list[str]) -> bool:
    out = False
    parents = ["/".join(name.split("/")[:count]) for count in range(1, name.count("/") + 2)]
    for pattern in patterns:
        keeps = pattern.startswith("!")
        expression = re.escape(pattern.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(expression, parent) for parent in parents):
            out = not keeps
    return out
