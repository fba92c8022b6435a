"""The one step of the build that pyproject.toml cannot say: the messages of the Open Inference Protocol."""

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
    (BSD-3-Clause), the superset of KServe's that every Triton client speaks. It is published as the descriptors in
    `tritonclient`, whose version pyproject.toml fixes; its licence goes with what is generated from it.
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
        """Writes `*_pb2.py`; a part of every build, so `pip install .` and `pip install -e .` both come here."""
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
        """Returns what goes into a source distribution: nothing, it generates its own."""
        return []

    def get_outputs(self) -> list[str]:
        """Returns nothing: `build_py`, which runs after, takes the generated modules along."""
        return []

    def get_output_mapping(self) -> dict[str, str]:
        """Returns nothing, likewise."""
        return {}


class Build(build):
    """The usual build, after the protocol's messages were generated."""

    sub_commands: ClassVar[list[tuple[str, None]]] = [("build_protocol", None), *build.sub_commands]


setup(cmdclass={"build": Build, "build_protocol": BuildProtocol})
