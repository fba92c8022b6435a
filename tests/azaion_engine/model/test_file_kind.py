"""What a file is that was given as a model: named in one line, without being read whole."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import shlex
import shutil
import socket
import subprocess
import tarfile
import time
import tracemalloc
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from azaion_engine.errors import ConfigurationError, ModelError
from azaion_engine.model.file import ModelFile, sample_picture
from azaion_engine.model.file_kind import ENGINE, ONNX, kind_of
from tests.azaion_engine.models import make_detector

GIB = 2**30


def torch_archive() -> bytes:
    """A ZIP with the entries of torch.save: the folder is named after the file."""
    return zipped({"best/data.pkl": b"\x80\x02}q\x00.", "best/byteorder": b"little", "best/data/0": b"\0" * 64})


def zipped(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("best.onnx"))
    return buffer.getvalue()


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 12700123\n"
BIG_LEGACY_PICKLE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
_PNG = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()

CASES = [
    ("best.pt", torch_archive(), "a PyTorch checkpoint", "yolo export model={path} format=onnx"),
    ("best.onnx", torch_archive(), "a PyTorch checkpoint", "best.pt and export it (Ultralytics: yolo export model="),
    ("old.pth", BIG_LEGACY_PICKLE, "a PyTorch checkpoint", "torch.onnx.export"),
    ("net.bin", BIG_LEGACY_PICKLE, "a PyTorch checkpoint", "net.pt and export it"),
    ("net.pkl", pickle.dumps({"a": 1}), "a Python pickle", "torch.onnx.export"),
    ("net.keras", zipped({"metadata.json": b"{}"}), "a Keras model", "--keras {path}"),
    ("net.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "a Keras model (HDF5)", "--keras {path}"),
    ("net.zip", zipped({"best.onnx": b"x"}), "a ZIP archive", "unzip {path}"),
    ("net.onnx", zipped({"best.onnx": b"x"}), "a ZIP archive", "unzip {path}"),
    ("net.tar", tarred(), "a tar archive", "tar -xf {path}"),
    ("net.tar.gz", b"\x1f\x8b\x08" + b"\0" * 9, "a tar archive", "tar -xf {path}"),
    ("net.onnx.gz", b"\x1f\x8b\x08" + b"\0" * 9, "a gzip archive", "gunzip < {path} > unpacked.onnx"),
    ("lfs.onnx", LFS_POINTER, "a Git LFS pointer to a file of 12.7 MB", "git lfs pull"),
    ("page.onnx", b"\n<!DOCTYPE html>\n<html><head>", "an HTML page", "/resolve/"),
    ("page.onnx", b"<!-- saved --><HTML lang=en>", "an HTML page", "/resolve/"),
    ("error.onnx", b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "an XML text", "download the file"),
    ("net.xml", b'<?xml version="1.0"?>\n<net name="main" version="11">', "an OpenVINO network", "to ONNX"),
    ("empty.onnx", b"", "an empty file", "repeat it"),
    ("zeros.onnx", b"\0" * 5000, "a file that begins with zeros", "repeat it"),
    ("net.engine", b"ftrt" + b"\0" * 60, "a TensorRT engine", "the ONNX file that it was built from"),
    ("net.onnx", b"vtrt" + b"\0" * 60, "a TensorRT engine", "the ONNX file that it was built from"),
    ("net.engine", b'\x10\x02\x00\x00{"description": 1}ftrt', "a TensorRT engine that Ultralytics wrote", "built from"),
    ("net.tflite", b"\x1c\0\0\0TFL3" + b"\0" * 20, "a TensorFlow Lite model", "--tflite {path}"),
    ("net.ort", b"\x1c\0\0\0ORTM" + b"\0" * 20, "a model in ONNX Runtime's own format", "made from"),
    ("net.pb", b"\x0a\x20\x0a\x01x\x12\x0bPlaceholder", "a TensorFlow graph", "--saved-model"),
    ("net.mlmodel", b"\x08\x05\x12\x04\x0a\x02ab", "a protobuf message without an ONNX graph", "to ONNX"),
    ("w.safetensors", (40).to_bytes(8, "little") + b'{"a":{}}' + b" " * 64, "(safetensors)", "optimum-cli"),
    ("config.json", b'{\n "architectures": [', "a JSON text", "give the network's ONNX file"),
    ("list.json", b'["a", "b"]', "a JSON text", "give the network's ONNX file"),
    ("photo.onnx", sample_picture(), "a picture (JPEG)", "give the network's ONNX file"),
    ("photo.png", _PNG, "a picture (PNG)", "give the network's ONNX file"),
    ("film.mp4", b"\0\0\0\x20ftypisom" + b"\0" * 20, "a video or a picture", "give the network's ONNX file"),
    ("notes.txt", b"epoch 1\nloss 0.5\n", "a text file ('epoch 1 loss 0.5')", "give the network's ONNX file"),
    ("utf8.txt", "Größe: 3\n".encode() * 200, "a text file", "give the network's ONNX file"),
    ("noise.onnx", b"\xfe\xdc\xba\x98" * 40, "of no known kind (first bytes fe dc ba 98 fe dc ba 98)", "ONNX file"),
]


@pytest.mark.parametrize(("name", "content", "kind", "advice"), CASES, ids=[f"{c[0]}-{c[2][:20]}" for c in CASES])
def test_a_file_that_is_no_model_is_named_with_advice_in_one_line(
    tmp_path: Path, name: str, content: bytes, kind: str, advice: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelError) as raised:
        ModelFile.read(str(path))
    message = str(raised.value)
    assert f"model: {str(path)!r} is " in message
    assert kind in message
    assert advice.replace("{path}", str(path)) in message
    assert "\n" not in message


def test_the_commands_in_advice_quote_the_path(tmp_path: Path) -> None:
    (folder := tmp_path / "two words").mkdir()
    (path := folder / "it's {path}.pt").write_bytes(torch_archive())
    (archive := folder / "a b.zip").write_bytes(zipped({"best.onnx": b"x"}))
    with pytest.raises(ModelError) as raised:
        ModelFile.read(str(path))
    assert f"yolo export model={shlex.quote(str(path))} format=onnx" in str(raised.value)
    with pytest.raises(ModelError, match=f"unzip '{archive}'"):
        ModelFile.read(str(archive))


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "gz", "xz", "bz2"])
def test_the_advice_on_an_archive_gives_the_model_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data, path = make_detector(), tmp_path / f"packed.{kind}"
    Path("unpacked.onnx").write_bytes(data)
    if "tar" in kind:
        with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as archive:
            archive.add("unpacked.onnx")
    else:
        pack = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}
        path.write_bytes(pack[kind](data) if kind in pack else zipped({"unpacked.onnx": data}))
    Path("unpacked.onnx").unlink()
    with pytest.raises(ModelError) as raised:
        ModelFile.read(str(path))
    command = str(raised.value).partition("give the ONNX file in it: ")[2]
    if not shutil.which(command.split()[0]):
        pytest.skip(f"no {command.split()[0]} here")
    subprocess.run(["sh", "-c", command], check=True)
    assert ModelFile.read("unpacked.onnx").data == data


def bytes_read() -> int:
    """Bytes that this thread has read from files so far (proc(5), rchar)."""
    return int(Path("/proc/thread-self/io").read_text().split()[1])


@pytest.mark.parametrize(
    ("name", "start", "kind"),
    [
        ("best.pt", torch_archive(), "a PyTorch checkpoint"),
        ("old.pt", BIG_LEGACY_PICKLE, "a PyTorch checkpoint"),
        ("huge.engine", b"ftrt", "a TensorRT engine"),
        ("model.safetensors", (40).to_bytes(8, "little") + b"{", "(safetensors)"),
        # ir_version 8, then a graph of just under 5 GiB, as a protobuf library cannot write it.
        ("huge.onnx", b"\x08\x08\x3a\xf8\xff\xff\xff\x13", "an ONNX file of 5.00 GiB, the limit is 2 GiB"),
        ("cut.onnx", b"\x08\x08\x3a\xf9\xff\xff\xff\x13", "a damaged ONNX file (cut short, at least 1 bytes"),
        ("zeros.bin", b"\0", "a file that begins with zeros"),
    ],
)
def test_five_gigabytes_are_named_in_milliseconds_without_being_read(
    tmp_path: Path, name: str, start: bytes, kind: str
) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(start)
        file.truncate(5 * GIB)
    tracemalloc.start()
    try:
        read, begun = bytes_read(), time.perf_counter()
        with pytest.raises(ModelError, match="is ") as raised:
            ModelFile.read(str(path))
        seconds, read = time.perf_counter() - begun, bytes_read() - read
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert kind in str(raised.value)
    assert read < 4000  # the head, a few fields, and what this test reads itself
    assert peak < 200_000
    assert seconds < 0.5  # milliseconds; the rest is for a machine that is busy


def test_an_onnx_file_is_known_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    (path := tmp_path / "network.bin").write_bytes(data := make_detector())
    assert kind_of(path) is ONNX
    model = ModelFile.read(str(path))
    assert (model.name, model.data, model.weight_files) == ("network", data, ())


def test_a_file_cut_anywhere_is_refused_in_one_line(tmp_path: Path) -> None:
    data, path = make_detector(), tmp_path / "cut.onnx"
    for length in range(1, len(data), 37):
        path.write_bytes(data[:length])
        with pytest.raises(
            ModelError, match=r"cut short, at least \d+ bytes are missing|no known kind|without an ONNX"
        ):
            ModelFile.read(str(path))


def test_a_field_that_no_onnx_file_has_is_told_with_its_place(tmp_path: Path) -> None:
    data, path = make_detector(), tmp_path / "garbled.onnx"
    path.write_bytes(data + b"\x3b\x00")
    with pytest.raises(ModelError, match=f"a damaged ONNX file .garbled at byte {len(data)}.; the download or export"):
        ModelFile.read(str(path))


def test_the_file_of_a_later_onnx_version_is_not_taken_for_damaged(tmp_path: Path) -> None:
    later = b"\xaa\x06\x03new"  # field 101
    (path := tmp_path / "later.onnx").write_bytes(data := make_detector() + later)
    assert ModelFile.read(str(path)).data == data


def test_a_folder_names_the_models_in_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a folder, not an ONNX file; give the path of an ONNX file"):
        ModelFile.read(str(tmp_path))
    for name in "abcd":
        (tmp_path / f"{name}.onnx").touch()
    with pytest.raises(ModelError, match=r"name the file in it: a\.onnx, b\.onnx, c\.onnx and 1 more"):
        ModelFile.read(str(tmp_path))
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(ModelError, match=r"SavedModel.*--saved-model"):
        ModelFile.read(str(tmp_path))


def test_pipes_sockets_and_devices_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.onnx"))
        for path in (tmp_path / "pipe.onnx", tmp_path / "s.onnx", Path("/dev/zero")):
            with pytest.raises(ModelError, match="a device, pipe or socket"):
                ModelFile.read(str(path))


def test_what_is_not_there_is_no_matter_of_its_kind(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read .*nothing\.pt': No such file"):
        ModelFile.read(str(tmp_path / "nothing.pt"))
    (tmp_path / "loop.onnx").symlink_to("loop.onnx")
    with pytest.raises(ConfigurationError, match="Too many levels"):
        ModelFile.read(str(tmp_path / "loop.onnx"))


def test_an_engine_is_in_the_group_of_engines(tmp_path: Path) -> None:
    (path := tmp_path / "x").write_bytes(b"ftrt")
    assert kind_of(path) is ENGINE
    assert ENGINE.group == "engine"
