"""deploy/Dockerfile: no compiler and no root at run time, one folder to write to, and a context without the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from setuptools import find_packages

from tests.deploy.dockerfile import Dockerfile, Stage, assignments, context_files, exec_form

ROOT = Path(__file__).parents[2]
DOCKERFILE = Dockerfile.read(ROOT / "deploy" / "Dockerfile")
FINAL = ("cpu", "gpu")


def whole(name: str) -> Stage:
    """Returns a stage with the instructions of those that it is based on."""
    line = DOCKERFILE.line_of(name)
    return Stage(line[0].base, name, [each for stage in line for each in stage.instructions])


@pytest.mark.parametrize("name", FINAL)
def test_the_image_has_no_compiler_and_does_not_run_as_root(name: str) -> None:
    stage = whole(name)
    assert stage.base == "debian:trixie-slim"
    runs = " ".join(each.text for each in stage.instructions if each.word == "RUN")
    assert "pip" not in runs.split()
    assert not {"g++", "gcc", "build-essential", "python3-dev", "python3-venv"} & set(runs.split())
    user = stage.last("USER")
    assert user is not None
    assert user.text == "1000:1000"
    assert "useradd --uid 1000 " in runs
    # What is copied after USER would still be root's; here nothing is, so nothing belongs to the user but the volume.
    assert stage.instructions[-1].word == "USER"
    assert [each.text for each in stage.instructions if each.word == "VOLUME"] == ["/var/cache/azaion"]
    assert "install --directory --owner=azaion --group=azaion /var/cache/azaion" in runs


@pytest.mark.parametrize("name", FINAL)
def test_the_health_check_asks_a_route_of_the_service_on_the_port_that_it_listens_on(name: str) -> None:
    stage = whole(name)
    health, command, entry, port = (stage.last(word) for word in ("HEALTHCHECK", "CMD", "ENTRYPOINT", "EXPOSE"))
    assert health is not None
    assert command is not None
    assert entry is not None
    assert port is not None
    url = exec_form(health)[-1]
    documented = json.loads((ROOT / "docs" / "openapi.json").read_text())["paths"]
    assert url.startswith(f"http://127.0.0.1:{port.text}/")
    assert url.removeprefix(f"http://127.0.0.1:{port.text}") in documented
    assert exec_form(command) == ["serve", "--host", "0.0.0.0"]
    assert exec_form(entry)[-1] == "azaion"
    assert "start-period" in health.flags()[0]


def test_the_gpu_image_has_pycuda_from_the_stage_with_the_compiler() -> None:
    build = DOCKERFILE.stages["build-gpu"]
    runs = [each.text for each in build.instructions if each.word == "RUN"]
    assert "sh deploy/image/pycuda_wheel.sh /wheels" in runs
    assert any("--find-links=/wheels" in run for run in runs)
    [default] = [assignments(each, {}) for each in build.instructions if each.word == "ARG"]
    assert default == {"GPU_EXTRA": "gpu"}
    for name, source in (("cpu", "build"), ("gpu", "build-gpu")):
        copied = [each.flags() for each in DOCKERFILE.stages[name].instructions if each.word == "COPY"]
        assert copied == [({"from": source}, "/opt/azaion /opt/azaion")]


def test_the_context_is_what_the_package_is_built_from_and_nothing_else() -> None:
    files = {str(file) for file in context_files(ROOT)}
    folders = {file.split("/")[0] for file in files if "/" in file}
    packages = find_packages(str(ROOT), include=["azaion_*", "deployments*"], exclude=["*__pycache__*"])
    assert folders == {package.split(".")[0] for package in packages} | {"configs", "deploy"}
    for package in packages:
        assert f"{package.replace('.', '/')}/__init__.py" in files
    assert {file for file in files if "/" not in file} == {
        "LICENSE", "README.md", "build_backend.py", "pyproject.toml", "serve_config.yaml",
    }  # fmt: skip
    assert {"azaion_engine/data/demo.onnx", "deploy/image/pycuda_wheel.sh", "configs/throughput.env"} <= files
    for stage in DOCKERFILE.stages.values():
        for instruction in stage.instructions:
            flags, text = instruction.flags()
            if instruction.word == "COPY" and not flags:
                for source in text.split()[:-1]:
                    assert source == "." or any(file == source or file.startswith(f"{source}/") for file in files)


def test_an_instruction_that_is_not_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian AS one\nADD https://example.com/file /file\n")
    with pytest.raises(ValueError, match="Dockerfile:2: ADD"):
        Dockerfile.read(tmp_path / "Dockerfile")
