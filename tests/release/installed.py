"""Installed: a wheel in an environment and a folder of its own, used as a stranger uses it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.running_serve import free_port

TYPED = """\
from azaion_batch.settings import BatchSettings
from azaion_cli.exit_codes import ExitCode
from azaion_client import Client
from azaion_engine import Detector
from deployments.settings import ServiceSettings

reveal_type(Detector.open().detect(b"")[0].boxes)
reveal_type(Client("http://127.0.0.1").detect(b"").boxes[0].confidence)
reveal_type(BatchSettings.every)
reveal_type(ServiceSettings().batch_size)
reveal_type(ExitCode.OK.value)
"""

COPY_SAMPLE = """\
from azaion_engine.model.file import SAMPLES, sample_picture
open("sample_1.jpg", "wb").write(sample_picture(SAMPLES[0]))
"""


@dataclass
class Installed:
    """An environment with the wheel, and an empty folder to work in.

    Attributes:
        python: Its interpreter.
        folder: Working folder; the sample and the outputs lie there.
        version: That the wheel's name tells.
    """

    python: Path
    folder: Path
    version: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a stranger's shell: no cache, no token, no path into a checkout."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "RAY_", "AZAION_"))}
        path = f"{self.python.parent}:{kept.get('PATH', '')}"
        return {**kept, "PATH": path, "HOME": str(self.folder), "RAY_USAGE_STATS_ENABLED": "0"}

    def run(self, *command: str, accept: tuple[int, ...] = (0,)) -> str:
        """Runs a program of the environment and returns its stdout.

        Raises:
            AssertionError: It ended with another exit code; with its stderr.
        """
        program = [str(self.python.parent / command[0]), *command[1:]]
        done = subprocess.run(
            program, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode in accept, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def check_version(self) -> None:
        """`azaion --version` tells the wheel's version, and what runs is the wheel, not a checkout."""
        assert self.run("azaion", "--version") == f"azaion-engine {self.version}\n"
        lies_in = self.run("python", "-c", "import azaion_engine, deployments; print(deployments.__path__[0])").strip()
        assert Path(lies_in).is_relative_to(self.python.parents[1]), f"runs {lies_in}"

    def check_doctor(self) -> None:
        """`azaion doctor` finds its packages."""
        told = json.loads(self.run("azaion", "doctor", "--json"))
        assert told["ok"], told
        assert {check["name"]: check["found"] for check in told["checks"]}["azaion-engine"].startswith(self.version)

    def check_detect(self, boxes: list[dict[str, Any]]) -> None:
        """`azaion detect` finds README's boxes in the packaged sample."""
        self.run("python", "-c", COPY_SAMPLE)
        told = self.run("azaion", "detect", "sample_1.jpg", "--confidence", "0.9", "--classes", "car")
        assert_same_boxes(json.loads(told)["boxes"], boxes)

    def check_types(self) -> None:
        """The types of every package reach a script that mypy checks strictly."""
        (self.folder / "typed.py").write_text(TYPED)
        if "None" in self.run("python", "-c", "from importlib.util import find_spec; print(find_spec('mypy'))"):
            self.run("python", "-m", "pip", "install", "--quiet", "mypy")
        told = self.run("python", "-m", "mypy", "--strict", "--cache-dir", os.devnull, "typed.py")
        revealed = re.findall(r'Revealed type is "(.*)"', told)
        assert len(revealed) == TYPED.count("reveal_type"), told
        assert not [kind for kind in revealed if kind == "Any"], told

    def check_serve(self, boxes: list[dict[str, Any]]) -> None:
        """`azaion serve` answers README's question, and the page; then it ends within a minute of SIGTERM."""
        self.run("python", "-c", COPY_SAMPLE)
        port = free_port()
        with self._serving(port) as process:
            url = f"http://127.0.0.1:{port}"
            wait_for(f"{url}/readyz", process)
            assert "<title>azaion-engine</title>" in ask(f"{url}/")
            for file in sorted(set(re.findall(r'(?:src|href)="(?!http|data:|#)([^"]+)"', ask(f"{url}/")))):
                ask(f"{url}/{file.removeprefix('./')}")
            ask(f"{url}/docs")
            picture = (self.folder / "sample_1.jpg").read_bytes()
            answer = json.loads(ask(f"{url}/detect?confidence=0.9&classes=car", picture))
            assert_same_boxes(answer["boxes"], boxes)

    @contextlib.contextmanager
    def _serving(self, port: int) -> Iterator[subprocess.Popen[bytes]]:
        log = self.folder / "serve.log"
        with log.open("w") as lines:
            process = subprocess.Popen(
                [str(self.python.parent / "azaion"), "serve", "--port", str(port)],
                cwd=self.folder, env=self.environment, stdout=lines, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        try:
            yield process
        except BaseException as error:
            error.args = (f"{error}\n{log.read_text()[-4000:]}",)
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise


def assert_same_boxes(got: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    """Asserts that boxes have the same classes and, within half a pixel, the same corners."""
    assert len(got) == len(wanted), (got, wanted)
    for one, other in zip(got, wanted, strict=True):
        assert one["class_name"] == other["class_name"], (got, wanted)
        assert all(abs(one[key] - other[key]) < 0.5 for key in ("x1", "y1", "x2", "y2")), (got, wanted)


def boxes_of_readme(readme: Path) -> list[dict[str, Any]]:
    """Returns the boxes of README's one answer."""
    [shown] = re.findall(r'"boxes":(\[.*?\])', readme.read_text())
    boxes: list[dict[str, Any]] = json.loads(shown)
    return boxes


def ask(url: str, body: bytes | None = None) -> str:
    """Returns the answer's text; raises urllib.error.URLError for any status but 2xx."""
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=60) as answer:
        text: str = answer.read().decode()
    return text


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 240) -> None:
    """Asks until the answer is well; raises AssertionError after so many seconds, or when the process has ended."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            ask(url)
            return
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, f"it ended with {process.returncode} before {url} was well"
            assert time.monotonic() < deadline, f"{url} was not well within {seconds} s"
        time.sleep(0.5)


def create(python: Path, wheel: Path, folder: Path, dependencies_of: Path | None = None) -> Installed:
    """Installs a wheel into a new environment.

    Args:
        python: Interpreter of the environment.
        wheel: The wheel.
        folder: Gets the environment and the working folder; must not exist.
        dependencies_of: An interpreter whose environment has the dependencies already: nothing is downloaded. None:
            they are installed from the package index, as the wheel asks for them.
    """
    folder.mkdir(parents=True)
    environment, work = folder / "env", folder / "empty"
    work.mkdir()
    subprocess.run([python, "-m", "venv", *(["--without-pip"] if dependencies_of else []), environment], check=True)
    interpreter = environment / "bin" / "python"
    pip = [dependencies_of, "-m", "pip", "--python", interpreter] if dependencies_of else [interpreter, "-m", "pip"]
    # --no-compile: what runs is compiled then, and most never runs.
    options = ["--quiet", "--disable-pip-version-check", "--no-compile", *(["--no-deps"] if dependencies_of else [])]
    subprocess.run([*pip, "install", *options, wheel], cwd=work, check=True)
    if dependencies_of:
        site_packages = [
            subprocess.run(
                [each, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                check=True, capture_output=True, text=True,
            ).stdout.strip()
            for each in (interpreter, dependencies_of)
        ]  # fmt: skip
        # A folder named by a .pth file: its own .pth files, of an editable installation, are not followed.
        Path(site_packages[0], "dependencies.pth").write_text(site_packages[1] + "\n")
    return Installed(interpreter, work, wheel.name.split("-")[1])
