"""`azaion cache`: lists and removes the plans stored on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from azaion_cli.console import make_table, megabytes, print_json, print_table, say
from azaion_cli.exit_codes import EPILOG
from azaion_cli.options import CacheOption, JsonOption, VerboseOption

if TYPE_CHECKING:
    from azaion_engine.model.info import ModelInfo
    from azaion_engine.plans.stored_plan import StoredPlan
    from azaion_engine.settings import DetectorSettings

app = typer.Typer(help="List or remove the engines that are kept on this machine; alone it lists.", epilog=EPILOG)


@app.callback(invoke_without_command=True)
def _alone(
    context: typer.Context, cache_dir: CacheOption = None, json_: JsonOption = False, verbose: VerboseOption = False
) -> None:
    if context.invoked_subcommand is None:
        list_plans(cache_dir, json_, verbose)


@app.command("ls", epilog=EPILOG)
def list_plans(cache_dir: CacheOption = None, json_: JsonOption = False, verbose: VerboseOption = False) -> None:
    """List the engines, and whether each would be reused here."""
    from azaion_engine.plans.store import PlanStore

    store = PlanStore(cache_dir)
    engines = [describe(plan) for plan in store.plans()]
    if json_:
        print_json({"directory": str(store.directory), "engines": engines})
    else:
        print_plans(engines)
        total = sum(plan["bytes"] for plan in engines)
        say(f"{len(engines)} engines, {megabytes(total)} in {store.directory}")


@app.command("rm", epilog=EPILOG)
def remove_plans(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="As `cache ls` lists them; a model's name for all of it.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Remove every engine.")] = False,
    cache_dir: CacheOption = None,
    json_: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Remove engines; the next start that needs one builds it again."""
    from azaion_engine.plans.store import PlanStore

    if bool(names) == all_:
        raise typer.BadParameter("name engines, or say --all", param_hint="NAME")
    store = PlanStore(cache_dir)
    chosen = store.plans() if all_ else []
    for name in names or ():
        matching = [plan for plan in store.plans() if _is_named(plan, name)]
        if not matching:
            raise typer.BadParameter(f"no such engine in {store.directory}: {name!r}", param_hint="NAME")
        chosen += [plan for plan in matching if plan not in chosen]
    removed = [{"path": str(plan.path), "bytes": store.remove(plan)} for plan in chosen]
    if json_:
        print_json({"removed": removed})
    else:
        for entry in removed:
            print(f"removed {entry['path']}")
        say(f"{len(removed)} engines, {megabytes(sum(int(str(entry['bytes'])) for entry in removed))} freed")


def describe(
    plan: StoredPlan, info: ModelInfo | None = None, settings: DetectorSettings | None = None
) -> dict[str, Any]:
    """Returns the properties of a stored plan, JSON-ready.

    Args:
        plan: The stored plan.
        info: Model to check the plan against; default: the one it was built from.
        settings: Settings to check it against; default: `DetectorSettings()`.
    """
    from azaion_engine.engines.tensorrt.reuse import why_not_reused
    from azaion_engine.plans.stored_plan import UnusableError

    try:
        manifest = plan.read_manifest().model_dump(mode="json")
    except UnusableError:  # why_not_reused reports it
        manifest = None
    reasons = why_not_reused(plan, info, settings)
    return {
        "name": f"{plan.path.parent.name}/{plan.path.name}",
        "path": str(plan.path),
        "bytes": plan.path.stat().st_size if plan.path.exists() else 0,
        "reusable": not reasons,
        "why_not": reasons,
        "manifest": manifest,
    }


def print_plans(plans: list[dict[str, Any]]) -> None:
    """Writes results of `describe` as a table to stdout, with the reasons why a plan would not be reused."""
    table = make_table("engine", "size", "built for", right=("size",))
    for plan in plans:
        table.add_row(plan["name"], megabytes(plan["bytes"]), _built_for(plan["manifest"]))
        table.add_row("", "", "would be reused here" if plan["reusable"] else "")
        for reason in plan["why_not"]:
            table.add_row("", "", f"not reused here: {reason}")
    if plans:
        print_table(table)


def _built_for(manifest: dict[str, Any] | None) -> str:
    if manifest is None:
        return "unknown"
    key = manifest["key"]
    height, width = key["input_shape"]
    return (
        f"{key['gpu_name']}, {key['tensorrt_flavour']} {key['tensorrt_version']}, {key['precision']}, "
        f"{height}x{width}, batch {key['batch_profile'][2]}"
    )


def _is_named(plan: StoredPlan, name: str) -> bool:
    folder = plan.path.parent.name
    names = {str(plan.path), f"{folder}/{plan.path.name}", folder, folder.rpartition("-")[0]}
    return name.rstrip("/") in names
