"""Labels: the accepted files, and the error messages for others."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azaion_engine.errors import ConfigurationError
from azaion_engine.model.labels import parse_names, read_labels

CAR_TRUCK = {0: "car", 1: "truck"}


@pytest.mark.parametrize(
    "value",
    [
        "{0: 'car', 1: 'truck'}",
        "{1: 'truck', 0: 'car'}",
        '{"0": "car", "1": "truck"}',
        '["car", "truck"]',
        "['car', 'truck']",
        "('car', 'truck')",
        " {0: ' car', 1: 'truck '}\n",
    ],
)
def test_metadata_in_every_usual_notation_is_read(value: str) -> None:
    names = parse_names(value)
    assert names == CAR_TRUCK
    assert list(names) == [0, 1]


def test_json_that_is_no_python_is_read() -> None:
    assert parse_names('{"0": "\\u0430\\/b"}') == {0: "а/b"}


@pytest.mark.parametrize(
    "value",
    [
        "", "car", "5", "None", "[]", "{}", "{0: 5}", "{0: ''}", "{'x': 'car'}", "{-1: 'car'}", "{True: 'car'}",
        "{0.5: 'car'}", "[['car']]", "{0: 'a', '0': 'b'}", "__import__('os').getcwd()", "(" * 5000, "\0",
    ],
)  # fmt: skip
def test_other_metadata_is_refused_and_never_run(value: str) -> None:
    with pytest.raises(ConfigurationError, match="class names"):
        parse_names(value)


@given(st.text(max_size=40))
def test_any_text_gives_names_or_a_configuration_error(value: str) -> None:
    with contextlib.suppress(ConfigurationError):
        assert parse_names(value)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "car\ntruck\n"),
        ("a.TXT", "car\r\ntruck\r\n\r\n"),
        ("a.txt", "\ufeffcar\ntruck"),
        ("a.yaml", "names:\n  - car\n  - truck\n"),
        ("a.yml", "path: x\nnc: 2\nnames:\n  0: car\n  1: truck\n"),
        ("a.yaml", "names: [car, truck]"),
        ("a.json", '["car", "truck"]'),
        ("a.json", '{"1": "truck", "0": "car"}'),
        ("a.json", '{"names": {"0": "car", "1": "truck"}}'),
    ],
)
def test_labels_files_are_read(tmp_path: Path, name: str, text: str) -> None:
    assert read_labels(write(tmp_path, name, text)) == CAR_TRUCK
    assert read_labels(str(tmp_path / name)) == CAR_TRUCK


def test_names_that_yaml_takes_for_something_else_stay_names(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", "names: [yes, no, 12, 1.50, танк]")
    assert list(read_labels(path).values()) == ["yes", "no", "12", "1.50", "танк"]


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("a.txt", "car\n\ntruck\n", "line 2"),
        ("a.txt", "", "no class names"),
        ("a.yaml", "names:\n  - car\n  - [x]\n", "line 3"),
        ("a.yaml", "names:\n  0: car\n  x: truck\n", "line 3"),
        ("a.yaml", "names:\n  0: car\n  0: truck\n", "line 3"),
        ("a.yaml", "names:\n  - ''\n", "line 2"),
        ("a.yaml", "a: [\nb: }", "line 2"),
        ("a.yaml", "- car\n", "names:"),
        ("a.yaml", "", "names:"),
        ("a.yaml", "a: 1\n---\nb: 2\n", "not YAML"),
        ("a.json", '["car",\n,]', "line 2"),
        ("a.json", '{"names": 5}', "expected a dict or a list"),
        ("a.json", '["car", 5]', "class 1"),
        ("a.json", '["car", "\\ud83d"]', "class 1.*whole characters"),
        ("a.json", '{"99999999999999999999": "car"}', "to 2"),
        ("a.json", "9" * 5000, "a.json: not JSON"),
        ("a.csv", "car", "ends in"),
    ],
)
def test_bad_content_is_named_with_file_and_place(tmp_path: Path, name: str, text: str, where: str) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(ConfigurationError, match=where) as caught:
        read_labels(path)
    assert str(path) in str(caught.value)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "labels.txt")
    with pytest.raises(ConfigurationError, match=r"labels\.txt: cannot be read: it is"):
        read_labels(tmp_path / "labels.txt")


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"gone\.txt.*cannot be read"):
        read_labels(tmp_path / "gone.txt")
    (tmp_path / "bad.txt").write_bytes(b"car\n\xff\xfe\n")
    with pytest.raises(ConfigurationError, match=r"line 2: not UTF-8"):
        read_labels(tmp_path / "bad.txt")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_labels(tmp_path / "folder.txt")
