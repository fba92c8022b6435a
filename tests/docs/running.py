"""Running: the blocks of a page, in the order of the page, as a reader runs them, in a folder like the repository's.

`azaion serve` starts no Ray: the arguments of the configuration that it would start are served in this process, over
HTTP, with the model that they name. Everything else is run as it stands.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import yaml
from ray.serve.schema import ServeDeploySchema

from azaion_cli.checks import preflight
from azaion_engine.detector import Detector
from tests.azaion_cli.conftest import Ran
from tests.deployments.frontends.page.served import served
from tests.docs.blocks import ROOT, Block, commands

ADDRESS = "http://127.0.0.1:8000"
"""The service's address in the documentation."""

_TIMES = r"in [\d.]+ s \([\d.]+/s\)|\"timing_ms\":\{.*?\}|dur=[\d.]+"
"""What no two runs have in common."""


class Reader:
    """Follows the pages: has a folder, and a service once a page has started one."""

    def __init__(self, folder: Path, azaion: Callable[..., Ran]) -> None:
        self._folder = folder
        self._azaion = azaion
        self._url: str | None = None
        self._service = ExitStack()
        self._key = ""
        for path in ROOT.iterdir():
            if path.suffix != ".egg-info" and path.name[0] != ".":
                (folder / path.name).symlink_to(path)

    def close(self) -> None:
        self._service.close()

    def follow(self, block: Block) -> None:
        """Runs a block, and asserts that it succeeds and prints what the page shows below."""
        if block.language == "python":
            self._run([sys.executable, "-c", self._addressed(block.text)], block, [])
            return
        if block.language == "yaml":
            [name] = re.findall(r"^file: (\S+)$", block.remark)
            (self._folder / name).write_text(block.text)
            return
        for line, told in block.steps():
            line = block.remark.removeprefix("run as: ") if block.remark.startswith("run as: ") else line
            if line.startswith("export AZAION_KEY="):
                continue  # it is known from the line that showed it
            [words, *more] = commands(line)
            if words[:2] == ["azaion", "serve"]:
                self.serve(*words[2:])
            elif words[0] == "azaion" and not more and ">" not in line:
                with working_in(self._folder):
                    ran = self._azaion(*words[1:])
                self._check(block, line, told, ran)
            else:
                self._run(["bash", "-ec", self._addressed(line)], block, told)

    def _addressed(self, text: str) -> str:
        if ADDRESS in text:
            assert self._url, "the page has not started the service"
        return text.replace(ADDRESS, self._url or "")

    def _run(self, command: list[str], block: Block, told: list[str]) -> None:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "AZAION_KEY": self._key,
        }
        ran = subprocess.run(
            command, cwd=self._folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        self._check(block, command[-1], told, Ran(ran.returncode, ran.stdout, ran.stderr))

    def _check(self, block: Block, command: str, told: list[str], ran: Ran) -> None:
        codes = [int(code) for code in re.findall(r"exit code (\d+)", block.remark)] or [0]
        assert ran.code in codes, f"{block}: {command}: {ran.code}\n{ran.err}"
        assert not ran.out.startswith('{"error"'), f"{block}: {command}: {ran.out}"
        if ran.out.startswith("azk_"):
            self._key = ran.out.split()[0]
        unlike = not_printed(told, ran.out + ran.err)
        assert not unlike, f"{block}: {unlike!r} is not in:\n{ran.out}{ran.err}"

    def serve(self, *arguments: str) -> None:
        """Serves what `azaion serve` would serve with these arguments."""
        started: list[str] = []

        def execve(program: str, arguments: list[str], environment: dict[str, str]) -> None:
            started.append(Path(arguments[-1]).read_text())

        self._service.close()
        with working_in(self._folder):
            with mock.patch.object(os, "execve", execve), mock.patch.object(preflight, "taken", return_value=False):
                ran = self._azaion("serve", *arguments)
            assert ran.code == 0, ran.err
            config = ServeDeploySchema.model_validate(yaml.safe_load(started[0]))
            [application] = config.applications
            assert config.http_options.port == 8000
            self._url = self._service.enter_context(served(Detector.open, **application.args)).rstrip("/")


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Changes the working folder, and back."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def not_printed(told: list[str], printed: str) -> str | None:
    """Returns the first line that a page shows and a command did not print; numbers may differ by half.

    Lines that are JSON belong together; `…` stands for any text; times are not compared.
    """
    if told and told[0].startswith("{"):
        told = ["".join(line.strip() for line in told)]
    for line in told:
        pattern = "".join(_pattern(part) for part in re.split(r"(…|\d+\.\d+)", re.sub(_TIMES, "…", line)))
        for match in re.finditer(pattern, printed):
            numbers = [float(part) for part in re.findall(r"\d+\.\d+", re.sub(_TIMES, "…", line))]
            if all(abs(float(got) - number) < 0.5 for got, number in zip(match.groups(), numbers, strict=True)):
                break
        else:
            return line
    return None


def _pattern(part: str) -> str:
    if part == "…":
        return ".*?"
    return r"(-?\d+\.\d+)" if re.fullmatch(r"\d+\.\d+", part) else re.escape(part)
