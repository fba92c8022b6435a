"""The build step that pyproject.toml cannot express: generates the Open Inference Protocol's messages."""

from __future__ import annotations

import tempfile
from importlib.metadata import files as files_of
from pathlib import Path
from typing import ClassVar

from setuptools import Command, setup
from setuptools.command.build import build

PACKAGE = "deployments/frontends/open_inference/generated"


class BuildProtocol(Command):
    """Generates the protocol's Python messages into the source tree, where `serve run` in a clone finds them too.

    The definition is NVIDIA's own: `model_config.proto` and `grpc_service.proto` of triton-inference-server/common
    (BSD-3-Clause), the superset of KServe's that every Triton client uses. It is read from the descriptors in
    `tritonclient`, whose version pyproject.toml pins; its licence is copied beside the generated files.
    """

    description = "generate the messages of the Open Inference Protocol"
    user_options: ClassVar[list[tuple[str, str | None, str]]] = []
    editable_mode = False
    build_lib: str | None = None

    def initialize_options(self) -> None:
        """Takes no options."""

    def finalize_options(self) -> None:
        """Takes no options."""

    def run(self) -> None:
        """Writes `*_pb2.py`; a part of every build, of `pip install .` and of `pip install -e .`."""
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
            root = Path(__file__).parent
            names = [file.name for file in files.file]
            [licence] = [file for file in files_of("tritonclient") or () if file.name == "LICENSE.txt"]
            (root / PACKAGE / licence.name).write_text(licence.read_text(), "utf-8")
            if protoc.main(["protoc", f"--descriptor_set_in={definition}", f"--python_out={root}", *names]):
                raise RuntimeError(f"protoc could not generate {names}")

    def get_source_files(self) -> list[str]:
        """Returns no files: a build from a source distribution generates its own."""
        return []

    def get_outputs(self) -> list[str]:
        """Returns no files: `build_py`, which runs afterwards, includes the generated modules."""
        return []

    def get_output_mapping(self) -> dict[str, str]:
        """Returns no files, for the same reason."""
        return {}


class Build(build):
    """The usual build, after generating the protocol's messages."""

    sub_commands: ClassVar[list[tuple[str, None]]] = [("build_protocol", None), *build.sub_commands]


setup(cmdclass={"build": Build, "build_protocol": BuildProtocol})
