"""`azaion doctor`: checks GPU, packages, memory, disks, ports and configuration, and says what to do."""

from __future__ import annotations

from dataclasses import asdict

from azaion_cli.checks.check import MARKS, Check
from azaion_cli.checks.configuration import configuration_check
from azaion_cli.checks.machine import machine_checks
from azaion_cli.checks.network import network_checks
from azaion_cli.console import make_table, print_json, print_table, stdout
from azaion_cli.exit_codes import ExitCode
from azaion_cli.options import DEFAULT_CONFIG, CacheOption, ConfigArgument, JsonOption, VerboseOption


def doctor(
    config: ConfigArgument = None,
    cache_dir: CacheOption = None,
    json_: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Say which GPU and TensorRT are here, what is missing, who reaches the service, and what to do.

    Ends with 3 when something keeps the GPU from being used, anything from running, or when everybody on the network
    could run code here; a host without a GPU is fine, and so are warnings.
    """
    if config is None and DEFAULT_CONFIG.is_file():
        config = DEFAULT_CONFIG
    checks = [*machine_checks(cache_dir), *network_checks()]
    if config is not None:
        checks.append(configuration_check(config))
    problems = [check for check in checks if check.status == "problem"]
    engine = _engine_here()
    if json_:
        print_json({"ok": not problems, "engine": engine, "checks": [asdict(check) for check in checks]})
    else:
        _show(checks, engine)
    return ExitCode.ENVIRONMENT if problems else ExitCode.OK


def _engine_here() -> str:
    """Returns the engine that `engine: auto` selects here."""
    from azaion_engine.engines.tensorrt import installed
    from azaion_engine.opening.tensorrt import missing_for_tensorrt

    if missing_for_tensorrt():
        return "onnxruntime-cpu"
    trt = installed.load()
    return f"{trt.flavour}-{trt.version}"


def _show(checks: list[Check], engine: str) -> None:
    from rich.text import Text

    table = make_table("", "", "")
    table.show_header = False
    for check in checks:
        mark, style = MARKS[check.status]
        table.add_row(Text(mark, style), check.name, check.found)
        if check.advice:
            table.add_row("", "", f"→ {check.advice}")
    print_table(table)
    stdout().print(f"models run on {engine}", style="bold")
