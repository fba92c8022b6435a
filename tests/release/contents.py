"""Contents of the source distribution and of the wheel, compared with what git tracks."""

from __future__ import annotations

import subprocess
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from build_backend import GENERATED, PACKAGE

PACKAGES = ("azaion_batch", "azaion_cli", "azaion_client", "azaion_engine", "deployments")
BESIDE_PACKAGES = ("configs", "examples")
ROOT_FILES = {
    "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "README.md", "SECURITY.md", "THIRD_PARTY.md",
    "build_backend.py", "pyproject.toml", "serve_config.yaml",
}  # fmt: skip
WRITTEN_BY_SETUPTOOLS = {"PKG-INFO", "setup.cfg"}


def tracked_files(root: Path, folders: Iterable[str]) -> set[str]:
    """Returns the files of some folders that git tracks, relative to `root`."""
    listed = subprocess.run(["git", "ls-files", "-z", *folders], cwd=root, check=True, capture_output=True, text=True)
    return {name for name in listed.stdout.split("\0") if name}


def generated_files() -> set[str]:
    """Returns the files that the build writes into the package, relative to the root."""
    return {f"{PACKAGE}/{name}" for name in GENERATED}


def files_of_sdist(sdist: Path) -> set[str]:
    """Returns the files of a source distribution, relative to its one folder; without setuptools' egg-info."""
    with tarfile.open(sdist) as archive:
        names = [member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()]
    return {name for name in names if ".egg-info/" not in name}


def files_of_wheel(wheel: Path) -> set[str]:
    """Returns the files of a wheel that get installed into packages; without its dist-info."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    return {name for name in names if not name.endswith("/") and ".dist-info/" not in name}


def wrong_files(root: Path, sdist: Path, wheel: Path) -> Iterator[str]:
    """Yields a line for each file that is missing from a distribution, or in it without being meant to."""
    packages = tracked_files(root, PACKAGES) | generated_files()
    sources = packages | tracked_files(root, BESIDE_PACKAGES) | ROOT_FILES | WRITTEN_BY_SETUPTOOLS
    for path, got, wanted in (
        (sdist, files_of_sdist(sdist), sources),
        (wheel, files_of_wheel(wheel), packages),
    ):
        yield from (f"{path.name} lacks {name}" for name in sorted(wanted - got))
        yield from (f"{path.name} has {name}, which git does not track" for name in sorted(got - wanted))
    yield from _wrong_licences(wheel)


def _wrong_licences(wheel: Path) -> Iterator[str]:
    """Yields a line for each licence text that the wheel lacks."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for licence in ("LICENSE", f"{PACKAGE}/LICENSE.txt"):
        if not any(name.endswith(f".dist-info/licenses/{licence}") for name in names):
            yield f"{wheel.name} lacks the licence text {licence}"
