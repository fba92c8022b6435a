"""Contents of distributions: what is left out, and what slipped in, is named."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.release import contents

ROOT = Path(__file__).parents[2]
Made = tuple[Path, Path]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Made]:
    """Writes a source distribution and a wheel of empty files, right but for what is left out and added."""

    def _make(without: str = "", plus: str = "") -> Made:
        packages = contents.tracked_files(ROOT, contents.PACKAGES) | contents.generated_files()
        sources = packages | contents.tracked_files(ROOT, contents.BESIDE_PACKAGES) | contents.ROOT_FILES
        sdist, wheel = tmp_path / "a.tar.gz", tmp_path / "a.whl"
        with tarfile.open(sdist, "w:gz") as archive:
            for name in (sources | contents.WRITTEN_BY_SETUPTOOLS | {plus}) - {without, ""}:
                archive.addfile(tarfile.TarInfo(f"a-1/{name}"))
        with zipfile.ZipFile(wheel, "w") as zipped:
            licences = {f"a.dist-info/licenses/{name}" for name in ("LICENSE", f"{contents.PACKAGE}/LICENSE.txt")}
            for name in (packages | licences | {plus}) - {without, ""}:
                zipped.writestr(name, "")
        return sdist, wheel

    return _make


def test_whole_distributions_have_nothing_wrong(make: Callable[..., Made]) -> None:
    assert [*contents.wrong_files(ROOT, *make())] == []


@pytest.mark.parametrize(
    "name",
    [
        "azaion_engine/data/demo.onnx",
        "azaion_engine/heads/gpu/select.ptx",
        "deployments/py.typed",
        "deployments/frontends/page/static/index.html",
        "deployments/frontends/open_inference/generated/grpc_service_pb2.py",
    ],
)
def test_a_file_that_is_needed_at_run_time_is_missed_in_both(make: Callable[..., Made], name: str) -> None:
    assert [*contents.wrong_files(ROOT, *make(without=name))] == [f"a.tar.gz lacks {name}", f"a.whl lacks {name}"]


def test_a_configuration_is_missed_in_the_sources(make: Callable[..., Made]) -> None:
    name = "configs/throughput.env"
    assert [*contents.wrong_files(ROOT, *make(without=name))] == [f"a.tar.gz lacks {name}"]


def test_what_git_does_not_track_is_named(make: Callable[..., Made]) -> None:
    wrong = [*contents.wrong_files(ROOT, *make(plus="tests/test_one.py"))]
    assert wrong == [f"{path} has tests/test_one.py, which git does not track" for path in ("a.tar.gz", "a.whl")]


def test_the_licence_of_the_generated_messages_is_missed(make: Callable[..., Made]) -> None:
    missing = f"{contents.PACKAGE}/LICENSE.txt"
    wrong = [*contents.wrong_files(ROOT, *make(without=f"a.dist-info/licenses/{missing}"))]
    assert wrong == [f"a.whl lacks the licence text {missing}"]
