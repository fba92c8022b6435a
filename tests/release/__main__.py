"""Checks what `make dist` built: python -m tests.release DIST [--python PYTHON …] [--no-serve].

Without --python, the interpreter at hand runs the wheel with the dependencies that it has already: the short form, for
CI. With it, each interpreter gets an environment with the dependencies from the package index; the first one serves.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.release.contents import files_of_wheel, wrong_files
from tests.release.installed import Installed, boxes_of_readme, create

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dist", type=Path, help="folder with one source distribution and one wheel")
    parser.add_argument("--python", action="append", default=[], help="interpreter; may be repeated")
    parser.add_argument("--no-serve", action="store_true", help="leave out `azaion serve`, which starts Ray")
    options = parser.parse_args()
    [sdist], [wheel] = options.dist.glob("*.tar.gz"), options.dist.glob("*.whl")
    for path in (sdist, wheel):
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
    if wrong := [*wrong_files(ROOT, sdist, wheel)]:
        print(*wrong, sep="\n")
        return 1
    boxes = boxes_of_readme(ROOT / "README.md")
    with tempfile.TemporaryDirectory(prefix="azaion-release-") as name:
        folder = Path(name)
        check_wheel_of_sdist(sdist.absolute(), wheel, folder / "wheel")
        for number, python in enumerate(options.python or [sys.executable]):
            begun = time.monotonic()
            dependencies = None if options.python else Path(sys.executable)
            installed = create(Path(python), wheel.absolute(), folder / str(number), dependencies)
            print(f"{installed.run('python', '-V').strip()}: installed in {time.monotonic() - begun:.0f} s")
            check(installed, boxes, number == 0, serve=number == 0 and not options.no_serve)
            shutil.rmtree(folder / str(number))
    return 0


def check(installed: Installed, boxes: list[dict[str, object]], types: bool, serve: bool) -> None:
    """Uses an installed wheel as README does, and says what worked."""
    steps = {
        "azaion --version": installed.check_version,
        "azaion doctor": installed.check_doctor,
        "azaion detect": lambda: installed.check_detect(boxes),
    }
    if types:
        steps["types of a script"] = installed.check_types
    if serve:
        steps["azaion serve"] = lambda: installed.check_serve(boxes)
    for name, step in steps.items():
        begun = time.monotonic()
        step()
        print(f"  {name}: {time.monotonic() - begun:.0f} s")


def check_wheel_of_sdist(sdist: Path, wheel: Path, folder: Path) -> None:
    """Builds a wheel from the sources with nothing at hand but setuptools; it must hold what the other wheel holds."""
    folder.mkdir()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "download", "--quiet", "--dest", "index", "setuptools>=77"], cwd=folder, check=True)
    offline = [
        "--no-deps",
        "--no-index",
        "--find-links",
        "index",
    ]  # --isolated: whatever else pip's configuration names
    subprocess.run(
        [*pip, "--isolated", "wheel", "--quiet", *offline, "--wheel-dir", "built", sdist], cwd=folder, check=True
    )
    [built] = (folder / "built").glob("*.whl")
    assert files_of_wheel(built) == files_of_wheel(wheel), files_of_wheel(built) ^ files_of_wheel(wheel)
    print("a wheel of the source distribution needs setuptools alone")


if __name__ == "__main__":
    raise SystemExit(main())
