"""Generated pages: are what the code gives today, and lack none of its keys, errors, commands, routes and metrics."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType

import pytest
import yaml

import azaion_client
import azaion_engine
import deployments
from azaion_engine.errors import AzaionError
from azaion_engine.settings import InputSettings, Tiles
from deployments.settings import AccessSettings, ApplicationSettings, Autoscale
from docs.generator.pages import PAGES, PLOTS
from tests.docs.blocks import ROOT

SHIPPED = ("azaion_batch", "azaion_cli", "azaion_client", "azaion_engine", "deployments")


def text_of(page: str) -> str:
    return (ROOT / "docs" / page).read_text()


def rows_of(page: str) -> set[str]:
    """Returns the first cell of every row of a page's tables, without backticks."""
    return {line.split("|")[1].strip().strip("`") for line in text_of(page).splitlines() if line.startswith("| ")}


def sources() -> Iterator[tuple[str, str]]:
    for package in SHIPPED:
        for path in sorted((ROOT / package).rglob("*.py")):
            if not path.name.endswith("_pb2.py"):
                yield str(path.relative_to(ROOT)), path.read_text()


def modules(package: ModuleType) -> Iterator[ModuleType]:
    yield package
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if found.name.endswith("errors"):
            yield importlib.import_module(found.name)


@pytest.mark.parametrize("page", PAGES)
def test_page_is_what_the_code_gives(page: str) -> None:
    assert text_of(page) == PAGES[page](), "run `make reference`"


@pytest.mark.parametrize("name", PLOTS)
def test_plot_is_that_of_the_record(name: str) -> None:
    kept = ROOT / "benchmarks" / "results" / name
    assert (ROOT / "docs" / "assets" / name).read_bytes() == kept.read_bytes(), "run `make reference`"


@pytest.mark.parametrize("settings", [ApplicationSettings, InputSettings, Tiles, Autoscale, AccessSettings])
def test_every_setting_is_there_and_described(settings: type) -> None:
    rows = [line for line in text_of("reference/configuration.md").splitlines() if line.startswith("| `")]
    described = {line.split("`")[1] for line in rows if line.rsplit("|", 2)[1].strip()}
    assert set(settings.model_fields) <= described


def test_every_environment_variable_that_the_code_reads_is_there() -> None:
    read = set()
    for _, text in sources():
        read |= set(re.findall(r"environ(?:ment)?(?:\.get|\.setdefault)?[\[(]\"(\w+)\"", text))
        read |= set(re.findall(r"\"(AZAION_\w+)\"", text))
    assert {"AZAION_KEY", "RAY_ADDRESS", "CUDA_VISIBLE_DEVICES"} <= read
    assert read <= rows_of("reference/configuration.md")


def test_every_error_code_is_there() -> None:
    codes = {
        value.code
        for package in (azaion_engine, deployments)
        for module in modules(package)
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, AzaionError)
    }
    codes |= {code for _, text in sources() for code in re.findall(r"^    code = \"(\w+)\"$", text, re.MULTILINE)}
    assert len(codes) > 30
    assert codes <= rows_of("reference/errors.md")


@pytest.mark.parametrize(
    ("code", "http", "grpc"),
    [
        ("not_a_picture", "415", "INVALID_ARGUMENT"),  # the protocol's own status: body and query are one message
        ("unauthorized", "401", "UNAUTHENTICATED"),
        ("execution_failed", "500", "INTERNAL"),
    ],
)
def test_error_has_the_status_of_http_and_grpc(code: str, http: str, grpc: str) -> None:
    [row] = [line for line in text_of("reference/errors.md").splitlines() if line.startswith(f"| `{code}` |")]
    assert [cell.strip() for cell in row.split("|")][3:5] == [http, grpc]


def test_every_exception_of_the_client_is_there() -> None:
    names = {name for name in azaion_client.__all__ if name.endswith("Error")}
    assert len(names) > 10
    assert names <= rows_of("reference/errors.md")


@pytest.mark.parametrize(("package", "page"), [(azaion_client, "client"), (azaion_engine, "library")])
def test_every_public_class_is_shown(package: ModuleType, page: str) -> None:
    shown = {
        line.rsplit(".", 1)[1] for line in text_of(f"reference/{page}-classes.md").splitlines() if line[:4] == "::: "
    }
    assert shown == {name for name in package.__all__ if not name.startswith("__")}


def test_every_command_and_option_is_there() -> None:
    page = text_of("reference/command-line.md")
    for name in ("doctor", "detect", "batch", "serve", "cache ls", "cluster check", "keys add"):
        assert f"\n## azaion {name}\n" in page
    files = sorted((ROOT / "azaion_cli" / "commands").rglob("*.py"))
    options = {
        word.value.split("/")[0]
        for path in files
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "typer.Option"
        for word in call.args
        if isinstance(word, ast.Constant) and str(word.value).startswith("--")
    }
    assert len(options) > 40
    assert {option for option in options if f"`{option}`" not in page} == set()


def test_every_route_is_there() -> None:
    document = yaml.safe_load((ROOT / "docs" / "openapi.json").read_text())
    page = text_of("reference/http.md")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            chapter = page.split(f"\n### {method.upper()} {path}\n")[1].split("\n### ")[0]
            for name in [*operation["responses"], *(f"`{one['name']}`" for one in operation.get("parameters", ()))]:
                assert f"| {name} |" in chapter


def test_every_metric_is_there() -> None:
    names = {
        name for _, text in sources() for name in re.findall(r"(?:Counter|Gauge|Histogram)\(\s*\"(azaion_\w+)\"", text)
    }
    assert len(names) > 10
    assert {f"ray_{name}" for name in names} <= rows_of("reference/metrics.md")


def test_every_room_is_in_the_tree_and_the_tree_has_no_others() -> None:
    tree = text_of("explanation/architecture.md").split("```")[1]
    rooms, package = set(), ""
    for indent, name in re.findall(r"^( *)([\w/]+)/ ", tree, re.MULTILINE):
        depth = len(indent) // 2
        above = [] if depth == 0 else package.split("/")[:depth]
        package = "/".join([*above, name])
        rooms.add(package)
    assert {room for room in rooms if not (ROOT / room).is_dir()} == set()
    packages = {
        str(path.parent.relative_to(ROOT)) for shipped in SHIPPED for path in (ROOT / shipped).glob("*/__init__.py")
    }
    shown = {room.removesuffix("/") for room in rooms}
    assert {one for one in packages if one not in shown} == {"azaion_cli/commands"}


def test_every_record_is_named_in_the_benchmarks_page() -> None:
    page = (ROOT / "benchmarks" / "README.md").read_text()
    records = {path.name for path in (ROOT / "benchmarks" / "results").iterdir()}
    assert {name for name in records if f"`{name}`" not in page} == set()
    assert len(page.splitlines()) <= 150


def test_every_record_that_a_page_names_exists() -> None:
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "benchmarks" / "README.md"]
    named = {
        (page.name, name)
        for page in pages
        for name in re.findall(
            r"`(?:benchmarks/results/)?((?:cpu_|h100_|h200_)[\w.]+\.(?:json|txt|md|svg))`", page.read_text()
        )
    }
    assert len(named) > 60
    assert {one for one in named if not (ROOT / "benchmarks" / "results" / one[1]).exists()} == set()


def test_every_file_that_a_decision_names_exists() -> None:
    shorter = [ROOT, *(ROOT / package for package in SHIPPED), *(ROOT / package for package in ("benchmarks", "tests"))]
    named = {
        (page.name, path)
        for folder in ("decisions", "explanation")
        for page in (ROOT / "docs" / folder).glob("*.md")
        for path in re.findall(r"`([\w/]+\.(?:py|cu|ptx|env|yaml))`", page.read_text())
    }
    assert len(named) > 40
    # A page may leave out the rooms above: `gatherer.py` of a room named in the same sentence.
    assert {
        one
        for one in named
        if not any((root / one[1]).exists() or ("/" not in one[1] and [*root.rglob(one[1])]) for root in shorter)
    } == set()
