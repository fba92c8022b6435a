"""`azaion cluster`: looks at every node of a running Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from azaion_cli.checks.check import MARKS, Check
from azaion_cli.console import make_table, megabytes, print_json, print_table, say
from azaion_cli.exit_codes import EPILOG, ExitCode
from azaion_cli.joining import ready_to_join
from azaion_cli.options import CacheOption, JsonOption, VerboseOption
from azaion_engine.errors import ConfigurationError

if TYPE_CHECKING:
    from azaion_cli.checks.cluster import ClusterNode

app = typer.Typer(help="Look at every node of a running Ray cluster.", epilog=EPILOG)

_PORTS_TOLD = 6


@app.callback()
def _group() -> None:
    pass  # keeps `check` a command of its own: Typer makes the only command of a group the group itself


@app.command("check", epilog=EPILOG)
def check(
    address: Annotated[
        str | None,
        typer.Option(
            "--address", metavar="HOST:PORT", help="The cluster's GCS; default: RAY_ADDRESS, or the Ray here."
        ),
    ] = None,
    cache_dir: CacheOption = None,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds within which every node must answer.", min=1)
    ] = 60,
    json_: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Say which versions, GPUs, engines and open ports every node has, and whether Ray's token is on.

    Ends with 3 when a node does not answer, nodes do not go together, or one has a problem that `azaion doctor` names.
    """
    from azaion_cli.checks.cluster import cluster_checks

    nodes = _look(address, cache_dir, timeout)
    checks = list(cluster_checks(nodes))
    problems = [each for each in checks if each.status == "problem"]
    if json_:
        print_json(
            {
                "ok": not problems,
                "nodes": [asdict(node) for node in nodes],
                "checks": [asdict(each) for each in checks],
            }
        )
    else:
        _show(nodes, checks)
    return ExitCode.ENVIRONMENT if problems else ExitCode.OK


def _look(address: str | None, cache_dir: Path | None, timeout: float) -> list[ClusterNode]:
    """Returns the nodes of the cluster at an address with their reports."""
    found = ready_to_join(address, timeout)
    import ray

    from azaion_cli.checks.cluster import ClusterNode
    from azaion_cli.checks.node import NodeReport, report_of_node
    from deployments.cluster.every_node import is_head, on_every_node

    try:
        ray.init(address=found, namespace="azaion", log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:  # it has ended since
        raise ConfigurationError(f"cannot join the Ray at {found}: {' '.join(str(error).split())}") from error
    try:
        found_there = on_every_node(report_of_node, cache_dir and str(cache_dir), timeout, seconds=timeout)
    finally:
        ray.shutdown()
    return [
        ClusterNode(
            address=answer.node["NodeManagerAddress"],
            node_id=answer.node["NodeID"],
            is_head=is_head(answer.node),
            ray_gpus=answer.node["Resources"].get("GPU", 0),
            report=None if answer.value is None else NodeReport.from_dict(answer.value),
            error=answer.error,
        )
        for answer in found_there
    ]


def _show(nodes: Sequence[ClusterNode], checks: Sequence[Check]) -> None:
    from rich.text import Text

    table = make_table("node", "versions", "GPUs", "engines", "token", "open ports", right=("engines",))
    for node in nodes:
        table.add_row(node.address + (" (head)" if node.is_head else ""), *_cells(node))
    print_table(table)
    if checks:
        found = make_table("", "", "")
        found.show_header = False
        for each in checks:
            mark, style = MARKS[each.status]
            found.add_row(Text(mark, style), each.name, each.found)
            found.add_row("", "", f"→ {each.advice}")
        print_table(found)
    problems = sum(each.status == "problem" for each in checks)
    say(f"{len(nodes)} nodes, {problems} problems, {len(checks) - problems} warnings")


def _cells(node: ClusterNode) -> tuple[str, str, str, str, str]:
    report = node.report
    if report is None:
        return "no answer", f"{node.ray_gpus:g} by Ray", "?", "?", "?"
    versions = ", ".join(f"{program} {version}" for program, version in report.versions.items())
    names = ", ".join(f"{report.gpus.count(name)} × {name}" for name in dict.fromkeys(report.gpus))
    gpus = names or "-"
    if node.ray_gpus != len(report.gpus):
        gpus += f" ({node.ray_gpus:g} by Ray)"
    engines = f"{report.engines}, {megabytes(report.engine_bytes)}" if report.engines else "0"
    token = {True: "on", False: "off", None: "?"}[report.token]
    ports = sorted({each.port for each in report.ports})
    more = f" and {len(ports) - _PORTS_TOLD} more" if len(ports) > _PORTS_TOLD else ""
    return versions, gpus, engines, token, " ".join(map(str, ports[:_PORTS_TOLD])) + more or "none"
