"""The build backend: setuptools, after generating the messages of the Open Inference Protocol (PEP 517).

The definition is NVIDIA's own: `model_config.proto` and `grpc_service.proto` of triton-inference-server/common
(BSD-3-Clause), the superset of KServe's that every Triton client uses. It is read from the descriptors in
`tritonclient`; its licence is copied beside the generated files. A source distribution carries the generated files:
building from one needs setuptools alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from setuptools import build_meta

PACKAGE = "deployments/frontends/open_inference/generated"
GENERATED = ("model_config_pb2.py", "grpc_service_pb2.py", "LICENSE.txt")
# protoc 1.72 writes what protobuf 6.30 to 7 can read; a newer one needs a newer protobuf, an older one refuses 7.
GENERATOR = ["grpcio-tools==1.72.*", "tritonclient[grpc]==2.73.0"]

Settings = Mapping[str, Any] | None


def is_source_distribution(root: Path) -> bool:
    """Returns whether a folder was unpacked from a source distribution with its generated files."""
    return (root / "PKG-INFO").is_file() and all((root / PACKAGE / name).is_file() for name in GENERATED)


def generate(root: Path) -> None:
    """Writes the messages into the source tree of a checkout; leaves a source distribution as it is.

    Raises:
        RuntimeError: protoc refused the definition.
    """
    if is_source_distribution(root):
        return
    import tritonclient
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from grpc_tools import protoc
    from tritonclient.grpc import model_config_pb2, service_pb2

    files = FileDescriptorSet()
    for module in (model_config_pb2, service_pb2):
        file = files.file.add()
        module.DESCRIPTOR.CopyToProto(file)
        # A message is pickled by its module's name, which protoc derives from the file's path.
        file.name = f"{PACKAGE}/{file.name}"
        file.dependency[:] = [f"{PACKAGE}/{name}" for name in file.dependency]
    with tempfile.TemporaryDirectory() as folder:
        definition = Path(folder) / "open_inference.binpb"
        definition.write_bytes(files.SerializeToString())
        names = [file.name for file in files.file]
        # Not by importlib.metadata: in a build, pip's own finder answers with this project, whatever name is asked for.
        [licence] = Path(tritonclient.__file__).parents[1].glob("tritonclient-*.dist-info/**/LICENSE.txt")
        (root / PACKAGE / licence.name).write_text(licence.read_text(), "utf-8")
        if protoc.main(["protoc", f"--descriptor_set_in={definition}", f"--python_out={root}", *names]):
            raise RuntimeError(f"protoc could not generate {names}")


def _generator(root: Path) -> list[str]:
    return [] if is_source_distribution(root) else GENERATOR


# The hooks below are called in the root of the source tree. The signatures are PEP 517's and PEP 660's.


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """Returns what building a wheel needs beyond pyproject.toml: in a checkout, the generator."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_generator(Path.cwd())]


def get_requires_for_build_sdist(config_settings: Settings = None) -> list[str]:
    """Returns what building a source distribution needs: in a checkout, the generator."""
    return [*build_meta.get_requires_for_build_sdist(config_settings), *_generator(Path.cwd())]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    """Returns what an editable installation needs: in a checkout, the generator."""
    return [*build_meta.get_requires_for_build_editable(config_settings), *_generator(Path.cwd())]


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Settings = None) -> str:
    """Writes the wheel's metadata, which names the licence of the generated files."""
    generate(Path.cwd())
    return build_meta.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def prepare_metadata_for_build_editable(metadata_directory: str, config_settings: Settings = None) -> str:
    """Writes the metadata of an editable installation."""
    generate(Path.cwd())
    return build_meta.prepare_metadata_for_build_editable(metadata_directory, config_settings)


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Builds the wheel; returns its file name."""
    generate(Path.cwd())
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory: str, config_settings: Settings = None) -> str:
    """Builds the source distribution, generated files included; returns its file name."""
    generate(Path.cwd())
    return build_meta.build_sdist(sdist_directory, config_settings)


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """Builds the wheel of an editable installation; returns its file name."""
    generate(Path.cwd())
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
