"""FileKind: what a file is that was given as a model, told by its size and first bytes, and what to do about it.

Nothing is read whole, because a checkpoint may have many GB.
"""

from __future__ import annotations

import re
import shlex
import stat
from dataclasses import dataclass
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Literal

from azaion_engine.model.outline import GRAPH, MAX_MODEL_BYTES, Outline, read_outline
from azaion_engine.pictures.formats import sniff

_HEAD_BYTES = 1024
_MAX_ENTRIES = 1000
"""Entries of a folder that are looked at."""


@dataclass(frozen=True)
class FileKind:
    """What a file is.

    Attributes:
        name: Predicate for a message, e.g. `a ZIP archive`.
        advice: What to do, as the second half of that message; `{path}` stands for the path, quoted for a shell,
            `{pt}` for the same with the suffix .pt.
        group: `onnx` can be read as a model, `engine` is a TensorRT engine, `folder` is no model in any format,
            `unknown` is no known kind.
    """

    name: str
    advice: str = ""
    group: Literal["onnx", "engine", "folder", "other", "unknown"] = "other"

    def refusal(self, path: Path) -> str:
        """Returns the message for a file of this kind that was given as a model."""
        not_onnx = "" if "ONNX" in self.name else ", not an ONNX file"
        return f"model: {str(path)!r} is {self.name}{not_onnx}; {self.advice_for(path)}"

    def advice_for(self, path: Path) -> str:
        """Returns the advice for the file at this path."""
        texts = {"{path}": path, "{pt}": path.with_suffix(".pt")}
        return re.sub(r"{path}|{pt}", lambda place: shlex.quote(str(texts[place[0]])), self.advice)


TOO_LARGE_ADVICE = "export it in FP16 (Ultralytics: half=True), which halves it, or take a smaller model of its family"
_DOWNLOAD = "download the file itself (GitHub: its raw file; Hugging Face: /resolve/ instead of /blob/ in the address)"
_AGAIN = "the download or export was cut short or failed: repeat it"
_EXPORT = "export it (Ultralytics: yolo export model={path} format=onnx; other networks: torch.onnx.export)"
_CONVERT = "convert it: pip install tf2onnx, then python -m tf2onnx.convert {option} --output model.onnx"
_NETWORK = "export the network that it was made from to ONNX"
_GIVE = "give the network's ONNX file as the model"
_UNPACK = "unpack it and give the ONNX file in it: "

ONNX = FileKind("an ONNX file", group="onnx")
ENGINE = FileKind(
    "a TensorRT engine",
    "an engine runs only on its kind of GPU and version of TensorRT: give the ONNX file that it was built from, "
    "its engine is built and kept",
    group="engine",
)
_EMPTY = FileKind("an empty file", _AGAIN)
_TORCH = FileKind("a PyTorch checkpoint", _EXPORT)
_MISNAMED_TORCH = FileKind("a PyTorch checkpoint", "rename it to {pt} and " + _EXPORT.replace("{path}", "{pt}"))
_PICKLE = FileKind("a Python pickle", "if a PyTorch network is in it, load it there and export it: torch.onnx.export")
_TAR = FileKind("a tar archive", f"{_UNPACK}tar -xf {{path}}")
_GZIP = FileKind("a gzip archive", f"{_UNPACK}gunzip < {{path}} > unpacked.onnx")

_STARTS = (
    # 8.6 writes ftrt, TensorRT-RTX 1.7 vtrt (files of both were looked at), old versions ptrt (Netron, tensorrt.js).
    (b"ftrt", ENGINE),
    (b"vtrt", ENGINE),
    (b"ptrt", ENGINE),
    (b"\x89HDF\r\n\x1a\n", FileKind("a Keras model (HDF5)", _CONVERT.replace("{option}", "--keras {path}"))),
    (b"\x1f\x8b", _GZIP),
    (b"BZh", FileKind("a bzip2 archive", f"{_UNPACK}bunzip2 < {{path}} > unpacked.onnx")),
    (b"\xfd7zXZ\x00", FileKind("an xz archive", f"{_UNPACK}unxz < {{path}} > unpacked.onnx")),
    (b"\x28\xb5\x2f\xfd", FileKind("a Zstandard archive", f"{_UNPACK}unzstd < {{path}} > unpacked.onnx")),
    (b"7z\xbc\xaf\x27\x1c", FileKind("a 7z archive", f"{_UNPACK}7z x {{path}}")),
    (b"Rar!\x1a\x07", FileKind("a RAR archive", f"{_UNPACK}unrar x {{path}}")),
    (b"GGUF", FileKind("a GGUF file", f"it holds a language model: {_GIVE}")),
    (b"\x93NUMPY", FileKind("a NumPy array", _GIVE)),
    (b"%PDF", FileKind("a PDF", _GIVE)),
    (b"\x7fELF", FileKind("a program or library (ELF)", _GIVE)),
    (b"\x1aE\xdf\xa3", FileKind("a video (Matroska or WebM)", _GIVE)),
)
_AT_4 = (
    (b"TFL3", FileKind("a TensorFlow Lite model", _CONVERT.replace("{option}", "--tflite {path}"))),
    (b"ORTM", FileKind("a model in ONNX Runtime's own format (ORT)", "give the ONNX file that it was made from")),
    (b"ET12", FileKind("an ExecuTorch program", _NETWORK)),
    (b"ftyp", FileKind("a video or a picture (MP4, HEIC or AVIF)", _GIVE)),
)

# The first entry of what torch.save and torch.jit.save write (pytorch: caffe2/serialize/inline_container.h).
_TORCH_ENTRY = re.compile(rb"[^/]+/(data\.pkl|data/|\.data/|version|\.format_version|byteorder|code/|extra/|constants)")
# The magic number 0x1950a86a20f9469cfc6c that torch.save wrote first before PyTorch 1.6 (torch/serialization.py).
_TORCH_PICKLE = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".torchscript")
_LFS = b"version https://git-lfs.github.com/spec/"
_JSON = re.compile(r'(\{\s*["}])|(\[\s*["\[{\]\d-])')


def kind_of(path: Path) -> FileKind:
    """Tells what is at a path; reads at most 1 KB, and 20 bytes of each top-level field of an ONNX file.

    Returns:
        `ONNX` if it is one as far as can be seen without reading it whole, and has at most `MAX_MODEL_BYTES`;
        else a kind whose `refusal` says what it is.

    Raises:
        OSError: There is nothing, or it cannot be read.
        ValueError: A NUL in the path.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        return _folder(path)
    if not stat.S_ISREG(status.st_mode):  # reading a pipe may wait forever, and a device need not end
        return FileKind("a device, pipe or socket", "give the path of a file")
    with path.open("rb", buffering=0) as file:
        head = file.read(_HEAD_BYTES)
        return foreign_kind(head, path, status.st_size) or _protobuf(file, head, path, status.st_size)


def foreign_kind(head: bytes, path: Path, size: int) -> FileKind | None:
    """Tells what a file is that does not begin as an ONNX file does.

    Args:
        head: Its first 1024 bytes, or all if it has fewer.
        path: Its path, whose suffix decides where the content leaves two readings.
        size: Its size in bytes.

    Returns:
        None for an ONNX file and where nothing is recognised.
    """
    if not head:
        return _EMPTY
    for start, kind in _STARTS:
        if head.startswith(start):
            return _TAR if kind is _GZIP and path.name.lower().endswith((".tar.gz", ".tgz")) else kind
    for tag, kind in _AT_4:
        if head.startswith(tag, 4):
            return kind
    if head.startswith(b"PK\x03\x04"):
        return _zip(head, path)
    if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):  # opcode PROTO and the protocol
        return _torch(path) if head.startswith(_TORCH_PICKLE) or path.suffix in _TORCH_SUFFIXES else _PICKLE
    if head[257:262] == b"ustar":
        return _TAR
    if head[2:6] == b'\x00\x00{"':  # the length of a JSON text, that text, the engine (ultralytics#22910)
        return FileKind("a TensorRT engine that Ultralytics wrote", ENGINE.advice, group="engine")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return FileKind(
            "a file of weights without their network (safetensors)",
            "export that network (transformers: optimum-cli export onnx --model FOLDER OUTPUT)",
        )
    if picture := sniff(head):
        return FileKind(f"a picture ({picture})", _GIVE)
    if not any(head):
        return FileKind("a file that begins with zeros", _AGAIN)
    return _text(head)


def _torch(path: Path) -> FileKind:
    return _TORCH if path.suffix in _TORCH_SUFFIXES else _MISNAMED_TORCH


def _zip(head: bytes, path: Path) -> FileKind:
    first = head[30 : 30 + int.from_bytes(head[26:28], "little")]  # name of the first entry (PKWARE APPNOTE, 4.3.7)
    if _TORCH_ENTRY.match(first) or path.suffix in _TORCH_SUFFIXES:
        return _torch(path)
    if path.suffix == ".keras":
        return FileKind("a Keras model", _CONVERT.replace("{option}", "--keras {path}"))
    return FileKind("a ZIP archive", f"{_UNPACK}unzip {{path}}")


def _text(head: bytes) -> FileKind | None:
    if any(byte < 0x20 and byte not in b"\t\n\f\r\x1b" for byte in head):
        return None
    text = head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if "\ufffd" in text[:-3]:  # the last character may be cut
        return None
    lower = text.lower()
    if head.startswith(_LFS):
        size = re.search(r"^size (\d+)$", text, re.MULTILINE)
        of = f" to a file of {int(size[1]) / 1e6:.1f} MB" if size else ""
        return FileKind(f"a Git LFS pointer{of}", "fetch that file, in its repository: git lfs pull")
    if lower.startswith("<!doctype html") or (lower.startswith("<") and "<html" in lower):
        return FileKind("an HTML page", _DOWNLOAD)
    if lower.startswith(("<?xml", "<net ")):
        return FileKind("an OpenVINO network", _NETWORK) if "<net " in lower else FileKind("an XML text", _DOWNLOAD)
    if _JSON.match(text):
        return FileKind("a JSON text", _GIVE)
    return FileKind(f"a text file ({' '.join(text[:40].split())!r})", _GIVE)


def _folder(path: Path) -> FileKind:
    names = {entry.name for entry in islice(path.iterdir(), _MAX_ENTRIES)}
    if "saved_model.pb" in names:
        return FileKind("a TensorFlow model (SavedModel)", _CONVERT.replace("{option}", "--saved-model {path}"))
    if path.suffix == ".mlpackage":
        return FileKind("a Core ML model", _NETWORK)
    if models := sorted(name for name in names if name.lower().endswith(".onnx")):
        listed = ", ".join(models[:3]) + (f" and {len(models) - 3} more" if len(models) > 3 else "")
        return FileKind("a folder", f"name the file in it: {listed}", group="folder")
    return FileKind("a folder", "give the path of an ONNX file", group="folder")


def _protobuf(file: FileIO, head: bytes, path: Path, size: int) -> FileKind:
    outline = read_outline(file, size)
    if not outline.like_onnx:
        if path.suffix == ".pb":
            return FileKind("a TensorFlow graph", _CONVERT.replace("{option}", "--saved-model FOLDER"))
        return FileKind(f"of no known kind (first bytes {head[:8].hex(' ')})", _GIVE, group="unknown")
    if fault := _fault(outline):
        return FileKind(f"a damaged ONNX file ({fault})", _AGAIN)
    if GRAPH not in outline.fields:
        return FileKind("a protobuf message without an ONNX graph, as Core ML and TensorFlow write it", _NETWORK)
    if size > MAX_MODEL_BYTES:
        return FileKind(f"an ONNX file of {size / 2**30:.2f} GiB, the limit is 2 GiB", TOO_LARGE_ADVICE)
    return ONNX


def _fault(outline: Outline) -> str:
    if outline.missing_bytes:
        return f"cut short, at least {outline.missing_bytes} bytes are missing"
    return "" if outline.garbled_at is None else f"garbled at byte {outline.garbled_at}"
