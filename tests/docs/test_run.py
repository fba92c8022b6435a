"""README and tutorial: a reader who follows them to the letter gets what they show; other pages' short blocks too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from azaion_engine.model.file import ModelFile, sample_picture
from tests.azaion_cli.conftest import Ran
from tests.docs.blocks import ROOT, blocks
from tests.docs.running import Reader, not_printed
from tests.stand_in import grey_picture

RUN = ("console", "bash", "sh", "python")

PAGES: dict[str, dict[str, Callable[[], bytes]]] = {
    "README.md": {},
    "docs/tutorial.md": {},
    "docs/guides/security.md": {"picture.jpg": sample_picture},
    "docs/reference/requests.md": {},
    "docs/reference/files.md": {"broken.jpg": lambda: sample_picture()[:-9000]},
    "docs/reference/library.md": {
        "best.onnx": lambda: ModelFile.read("demo").data,
        "a.jpg": sample_picture,
        "b.png": lambda: grey_picture(90, size=640),
    },
}
"""Pages whose blocks are run, from the first to the last, but for those that say why not; files that readers have."""

ASK_A_SERVICE = ("docs/reference/requests.md",)
"""Pages that begin where a service runs."""


@pytest.fixture
def reader(tmp_path: Path, azaion: Callable[..., Ran]) -> Iterator[Reader]:
    reader = Reader(tmp_path, azaion)
    yield reader
    reader.close()


@pytest.mark.parametrize("page", PAGES)
def test_page_can_be_followed(page: str, reader: Reader, tmp_path: Path) -> None:
    for name, make in PAGES[page].items():
        (tmp_path / name).write_bytes(make())
    if page in ASK_A_SERVICE:
        reader.serve()
    ran = 0
    for block in blocks(*RUN, "yaml", page=Path(page)):
        if not block.not_run and (block.language != "yaml" or block.remark.startswith("file: ")):
            reader.follow(block)
            ran += 1
    assert ran > 0


def test_a_block_that_is_not_run_says_why() -> None:
    for block in blocks(*RUN):
        if block.not_run:
            assert block.remark.removeprefix("not run").removeprefix(" here").startswith(": "), f"{block}"
            for path in re.findall(r"tests/[\w/.]+\w", block.remark):
                assert (ROOT / path).exists(), f"{block}: {path}"
        else:
            assert str(block.page) in PAGES, f"{block} is neither run nor marked"


def test_other_output_than_the_shown_one_is_noticed() -> None:
    shown = ["a.jpg,1171.83,0.94,car", "2 pictures in 2.2 s (0.9/s), … failed"]
    assert not_printed(shown, "a.jpg,1171.9,0.91,car\n2 pictures in 12.9 s (0.1/s), 1 failed\n") is None
    assert not_printed(shown, "a.jpg,1172.9,0.94,car\n2 pictures in 2.2 s (0.9/s), 1 failed\n") == shown[0]
    assert not_printed(shown, "a.jpg,1171.83,0.94,bus\n2 pictures in 2.2 s (0.9/s), 1 failed\n") == shown[0]
    assert not_printed(shown, "a.jpg,1171.83,0.94,car\n") == shown[1]
    assert not_printed(['{"a": 1,', ' "b":2}'], '{"a": 1,"b":2}') is None
